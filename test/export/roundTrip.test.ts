// A network goes through every pair of formats and comes out to the bit; dist/ has the page's script.
import assert from "node:assert/strict";
import { test } from "node:test";
import { roundTrips } from "../../src/export/roundTrip.node.ts";
import { requireBuilt } from "../built.ts";
import { smallNets, smallTrained } from "./trained.ts";

requireBuilt();
const imagenet = smallNets["densenet, 7×7 stem"];
for (const [name, fields] of Object.entries({ imagenet, cifar: smallNets["densenet, 3×3 stem"] })) {
  test(`convert --check · ${name} · every pair of formats keeps every bit`, async () => {
    const { trips, refused } = await roundTrips(smallTrained(fields));
    assert.deepEqual(
      refused.map(({ format }) => format),
      name === "cifar" ? ["timm"] : [],
    );
    assert.equal(trips.length, (5 - refused.length) ** 2);
    for (const trip of trips) assert.deepEqual([trip.changed, trip.described], [0, true], `${trip.from} → ${trip.to}`);
  });
}

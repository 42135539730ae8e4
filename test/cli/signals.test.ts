// A signal asks a run to stop, and its echo, whenever it comes, does no more.
import assert from "node:assert/strict";
import { test } from "node:test";
import { listenForStop } from "../../src/cli/signals.ts";

for (const [name, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const) {
  test(`${name} · asked once, told once; an echo after release finds a listener, so it kills nothing`, () => {
    const before = process.listeners(name);
    const told: string[] = [];
    const stop = listenForStop((cause) => told.push(cause));
    process.emit(name);
    process.emit(name);
    stop.release();
    process.emit(name);
    const left = process.listeners(name).filter((listener) => !before.includes(listener));
    for (const listener of left) process.removeListener(name, listener);
    assert.equal(left.length, 1);
    assert.deepEqual(told, [name]);
    assert.equal(stop.exitCode(), code);
    assert.ok(stop.signal.aborted);
  });
}

test("without a signal, release takes the listeners back", () => {
  const before = [process.listenerCount("SIGINT"), process.listenerCount("SIGTERM")];
  const stop = listenForStop(() => {});
  stop.release();
  assert.deepEqual([process.listenerCount("SIGINT"), process.listenerCount("SIGTERM")], before);
  assert.equal(stop.exitCode(), undefined);
});

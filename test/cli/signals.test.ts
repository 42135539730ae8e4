// A signal asks a run to stop; its echo does no more, whenever it comes; another one ends the process.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { listenForStop } from "../../src/cli/signals.ts";

beforeEach(() => {
  for (const name of ["SIGINT", "SIGTERM"]) process.removeAllListeners(name);
});

for (const [name, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const) {
  test(`${name} · asked once, told once; an echo after release finds a listener, so it kills nothing`, () => {
    const told: string[] = [];
    const stop = listenForStop((cause) => told.push(cause));
    process.emit(name);
    process.emit(name);
    stop.release();
    process.emit(name);
    assert.equal(process.listenerCount(name), 1);
    assert.deepEqual(told, [name]);
    assert.equal(stop.exitCode(), code);
    assert.ok(stop.signal.aborted);
  });

  test(`${name} · a second one that comes later than an echo ends the process at once`, (t) => {
    let now = 0;
    t.mock.method(performance, "now", () => now);
    const exit = t.mock.method(process, "exit", (() => undefined) as unknown as typeof process.exit);
    const exits = (): unknown[] => exit.mock.calls.map(({ arguments: given }) => given);
    listenForStop(() => {});
    process.emit(name);
    now = 500;
    process.emit(name);
    assert.deepEqual(exits(), []);
    now = 501;
    process.emit(name);
    assert.deepEqual(exits(), [[code]]);
  });
}

test("without a signal, release takes the listeners back", () => {
  const stop = listenForStop(() => {});
  assert.deepEqual([process.listenerCount("SIGINT"), process.listenerCount("SIGTERM")], [1, 1]);
  stop.release();
  assert.deepEqual([process.listenerCount("SIGINT"), process.listenerCount("SIGTERM")], [0, 0]);
});

// A signal asks a run to stop; its echo does no more, whenever it comes; another one ends the process.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { listenForStop } from "../../src/cli/signals.ts";

const SIGNALS = [
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
] as const;

beforeEach(() => {
  for (const [name] of SIGNALS) process.removeAllListeners(name);
});

for (const [name, code] of SIGNALS) {
  test(`${name} · asked once, reported once; an echo after release finds a listener, so it kills nothing`, () => {
    const causes: string[] = [];
    const stop = listenForStop((cause) => {
      causes.push(cause);
      return undefined;
    });
    process.emit(name);
    process.emit(name);
    stop.release();
    process.emit(name);
    assert.equal(process.listenerCount(name), 1);
    assert.deepEqual(causes, [name]);
    assert.equal(stop.exitCode(), code);
    assert.ok(stop.signal.aborted);
  });

  test(`${name} · a second one that comes later than an echo ends the process at once`, (t) => {
    let now = 0;
    t.mock.method(performance, "now", () => now);
    const exit = t.mock.method(process, "exit", (() => undefined) as unknown as typeof process.exit);
    const exits = (): unknown[] => exit.mock.calls.map(({ arguments: given }) => given);
    listenForStop(() => undefined);
    process.emit(name);
    now = 500;
    process.emit(name);
    assert.deepEqual(exits(), []);
    now = 501;
    process.emit(name);
    assert.deepEqual(exits(), [[code]]);
  });

  test(`${name} · where there is nothing to save, the first one ends the process`, (t) => {
    const exit = t.mock.method(process, "exit", (() => undefined) as unknown as typeof process.exit);
    listenForStop(() => "now");
    process.emit(name);
    assert.deepEqual(
      exit.mock.calls.map(({ arguments: given }) => given),
      [[code]],
    );
  });
}

test("without a signal, release takes the listeners back", () => {
  const stop = listenForStop(() => undefined);
  assert.deepEqual(
    SIGNALS.map(([name]) => process.listenerCount(name)),
    [1, 1, 1],
  );
  stop.release();
  assert.deepEqual(
    SIGNALS.map(([name]) => process.listenerCount(name)),
    [0, 0, 0],
  );
});

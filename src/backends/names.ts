// backends: the names and bounds by which a run chooses its device. A leaf: it loads no backend.

/** What `createBackend` takes. `auto`: WebGPU where there is a GPU, else wasm. */
export const backendNames = ["auto", "webgpu", "wasm", "reference"] as const;
/** An entry of `backendNames`. */
export type BackendName = (typeof backendNames)[number];

/** Most compute threads of the wasm backend. No machine with more processors has been measured. */
export const maxThreads = 64;

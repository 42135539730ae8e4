// model: a tensor as files hold it, with its own type of number. `I64` holds num_batches_tracked.

/** Numbers in row-major order, with their shape and type. */
export type Tensor =
  | { readonly dtype: "F64"; readonly shape: readonly number[]; readonly data: Float64Array }
  | { readonly dtype: "F32"; readonly shape: readonly number[]; readonly data: Float32Array }
  /** As the bits of IEEE 754 binary16. Written only: reading gives F32, which holds it exactly. */
  | { readonly dtype: "F16"; readonly shape: readonly number[]; readonly data: Uint16Array }
  | { readonly dtype: "I64"; readonly shape: readonly number[]; readonly data: BigInt64Array }
  | { readonly dtype: "I32"; readonly shape: readonly number[]; readonly data: Int32Array }
  | { readonly dtype: "U8"; readonly shape: readonly number[]; readonly data: Uint8Array };

export type TensorDtype = Tensor["dtype"];

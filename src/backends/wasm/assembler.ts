// backends/wasm: the smallest assembler that lets kernels be written as TypeScript. Expressions are byte strings with a
// type, statements are appended to the function that is being built, and a module is the sections of the binary format
// around them. (WebAssembly core specification 3.0, chapter 5 "Binary Format"; relaxed SIMD, threads.)

export type ValueType = "i32" | "i64" | "f32" | "f64" | "v128";
const typeByte = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b } as const satisfies Record<
  ValueType,
  number
>;

/** Code that leaves one value of `type` on the stack. */
export interface Expression {
  readonly type: ValueType;
  readonly code: readonly number[];
}

function unsigned(value: number): number[] {
  const bytes: number[] = [];
  let rest = value >>> 0;
  do {
    const low = rest & 0x7f;
    rest >>>= 7;
    bytes.push(rest === 0 ? low : low | 0x80);
  } while (rest !== 0);
  return bytes;
}

function signed(value: number): number[] {
  const bytes: number[] = [];
  let rest = value | 0;
  for (;;) {
    const low = rest & 0x7f;
    rest >>= 7;
    const done = (rest === 0 && (low & 0x40) === 0) || (rest === -1 && (low & 0x40) !== 0);
    bytes.push(done ? low : low | 0x80);
    if (done) return bytes;
  }
}

function signed64(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = BigInt.asIntN(64, value);
  for (;;) {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    const done = (rest === 0n && (low & 0x40) === 0) || (rest === -1n && (low & 0x40) !== 0);
    bytes.push(done ? low : low | 0x80);
    if (done) return bytes;
  }
}

function ieeeBytes(value: number, size: 4 | 8): number[] {
  const view = new DataView(new ArrayBuffer(8));
  if (size === 4) view.setFloat32(0, value, true);
  else view.setFloat64(0, value, true);
  return [...new Uint8Array(view.buffer, 0, size)];
}

const simd = (opcode: number): number[] => [0xfd, ...unsigned(opcode)];
const combine = (type: ValueType, opcode: readonly number[], ...operands: readonly Expression[]): Expression => ({
  type,
  code: [...operands.flatMap((operand) => operand.code), ...opcode],
});
const binary = (operand: ValueType, opcode: readonly number[], result: ValueType = operand) => {
  return (a: Expression, b: Expression): Expression => {
    if (a.type !== operand || b.type !== operand)
      throw new TypeError(`expected ${operand}, got ${a.type} and ${b.type}`);
    return combine(result, opcode, a, b);
  };
};
const unary = (operand: ValueType, opcode: readonly number[], result: ValueType = operand) => {
  return (a: Expression): Expression => {
    if (a.type !== operand) throw new TypeError(`expected ${operand}, got ${a.type}`);
    return combine(result, opcode, a);
  };
};
/** align is log2 of the bytes; addresses are i32, `offset` is an immediate. */
const load = (type: ValueType, opcode: readonly number[]) => {
  return (address: Expression, offset = 0): Expression => combine(type, [...opcode, 0, ...unsigned(offset)], address);
};

const i32Constant = (value: number): Expression => ({ type: "i32", code: [0x41, ...signed(value)] });

/** Numbers stand for i32 constants wherever an i32 operand is expected. */
export type Operand = Expression | number;
const asI32 = (operand: Operand): Expression => (typeof operand === "number" ? i32Constant(operand) : operand);
const i32Binary = (opcode: readonly number[]) => {
  const op = binary("i32", opcode);
  return (a: Operand, b: Operand): Expression => op(asI32(a), asI32(b));
};

export const i32 = {
  const: i32Constant,
  add: i32Binary([0x6a]),
  sub: i32Binary([0x6b]),
  mul: i32Binary([0x6c]),
  divU: i32Binary([0x6e]),
  remU: i32Binary([0x70]),
  and: i32Binary([0x71]),
  shl: i32Binary([0x74]),
  shrU: i32Binary([0x76]),
  or: i32Binary([0x72]),
  xor: i32Binary([0x73]),
  eq: i32Binary([0x46]),
  ltS: i32Binary([0x48]),
  ltU: i32Binary([0x49]),
  geS: i32Binary([0x4e]),
  load: load("i32", [0x28]),
  truncF32: unary("f32", [0xa8], "i32"),
} as const;

export const f32 = {
  const: (value: number): Expression => ({ type: "f32", code: [0x43, ...ieeeBytes(value, 4)] }),
  load: load("f32", [0x2a]),
  add: binary("f32", [0x92]),
  sub: binary("f32", [0x93]),
  mul: binary("f32", [0x94]),
  div: binary("f32", [0x95]),
  max: binary("f32", [0x97]),
  sqrt: unary("f32", [0x91]),
  neg: unary("f32", [0x8c]),
  lt: binary("f32", [0x5d], "i32"),
  gt: binary("f32", [0x5e], "i32"),
  ge: binary("f32", [0x60], "i32"),
  eq: binary("f32", [0x5b], "i32"),
  ne: binary("f32", [0x5c], "i32"),
  fromI32U: unary("i32", [0xb3], "f32"),
  fromF64: unary("f64", [0xb6], "f32"),
} as const;

export const f64 = {
  const: (value: number): Expression => ({ type: "f64", code: [0x44, ...ieeeBytes(value, 8)] }),
  add: binary("f64", [0xa0]),
  sub: binary("f64", [0xa1]),
  mul: binary("f64", [0xa2]),
  div: binary("f64", [0xa3]),
  gt: binary("f64", [0x64], "i32"),
  nearest: unary("f64", [0x9e]),
  fromF32: unary("f32", [0xbb], "f64"),
  fromI64: unary("i64", [0xb9], "f64"),
  reinterpret: unary("i64", [0xbf], "f64"),
} as const;

export const i64 = {
  const: (value: number | bigint): Expression => ({ type: "i64", code: [0x42, ...signed64(BigInt(value))] }),
  add: binary("i64", [0x7c]),
  and: binary("i64", [0x83]),
  or: binary("i64", [0x84]),
  shl: binary("i64", [0x86]),
  shrU: binary("i64", [0x88]),
  fromF64: unary("f64", [0xb0], "i64"),
  reinterpret: unary("f64", [0xbd], "i64"),
} as const;

export const v128 = {
  zero: { type: "v128", code: [...simd(12), ...new Array<number>(16).fill(0)] } as Expression,
  load: load("v128", simd(0)),
  load32Splat: load("v128", simd(9)),
  /** One f32 in lane 0, zeros in the others. */
  load32Zero: load("v128", simd(92)),
  and: binary("v128", simd(78)),
  /** a and not b. */
  andNot: binary("v128", simd(79)),
  xor: binary("v128", simd(81)),
  /** Bytes 0–15 are of a, 16–31 of b. */
  shuffle: (a: Expression, b: Expression, lanes: readonly number[]): Expression =>
    combine("v128", [...simd(13), ...lanes], a, b),
} as const;

/** Lanes of four 32-bit numbers as the byte lanes that `shuffle` takes. */
export const lanes32 = (lanes: readonly number[]): number[] =>
  lanes.flatMap((lane) => [0, 1, 2, 3].map((b) => lane * 4 + b));

const extractLane = (vector: Expression, lane: number): Expression => combine("f32", [...simd(31), lane], vector);
const multiplyAdd = (a: Expression, b: Expression, c: Expression): Expression => combine("v128", simd(0x105), a, b, c);

export const f32x4 = {
  splat: unary("f32", simd(19), "v128"),
  extractLane,
  add: binary("v128", simd(228)),
  sub: binary("v128", simd(229)),
  mul: binary("v128", simd(230)),
  div: binary("v128", simd(231)),
  sqrt: unary("v128", simd(227)),
  max: binary("v128", simd(233)),
  gt: binary("v128", simd(68)),
  le: binary("v128", simd(69)),
  /** a·b + c, rounded once where the hardware has FMA (relaxed SIMD). */
  relaxedMadd: multiplyAdd,
} as const;

export const i32x4 = {
  splat: unary("i32", simd(17), "v128"),
  const: (values: readonly number[]): Expression => {
    const bytes = new Uint8Array(Int32Array.from(values).buffer);
    return { type: "v128", code: [...simd(12), ...bytes] };
  },
  add: binary("v128", simd(174)),
  mul: binary("v128", simd(181)),
  shrU: (a: Expression, bits: number): Expression => combine("v128", simd(173), a, i32Constant(bits)),
  /** Unsigned values below 2³¹ only need the signed comparison. */
  geS: binary("v128", simd(63)),
} as const;

export class Local {
  readonly index: number;
  readonly type: ValueType;
  readonly get: Expression;
  constructor(index: number, type: ValueType) {
    this.index = index;
    this.type = type;
    this.get = { type, code: [0x20, ...unsigned(index)] };
  }
}

export interface FunctionSignature {
  readonly index: number;
  readonly parameters: readonly ValueType[];
  readonly result: ValueType | undefined;
}

/** Statements of one function, appended in order. */
export class FunctionBuilder {
  readonly #code: number[] = [];
  readonly #locals: ValueType[] = [];
  readonly #parameters: readonly ValueType[];
  readonly parameters: readonly Local[];

  constructor(parameters: readonly ValueType[]) {
    this.#parameters = parameters;
    this.parameters = parameters.map((type, index) => new Local(index, type));
  }

  local(type: ValueType): Local {
    this.#locals.push(type);
    return new Local(this.#parameters.length + this.#locals.length - 1, type);
  }

  /** A new local that starts as `value`. */
  let(value: Operand): Local {
    const expression = asI32(value);
    const local = this.local(expression.type);
    this.set(local, expression);
    return local;
  }

  set(local: Local, value: Operand): void {
    const expression = asI32(value);
    if (expression.type !== local.type) throw new TypeError(`a ${local.type} local was given ${expression.type}`);
    this.#code.push(...expression.code, 0x21, ...unsigned(local.index));
  }

  /** local += value */
  advance(local: Local, value: Operand): void {
    this.set(local, i32.add(local.get, value));
  }

  store(address: Expression, value: Expression, offset = 0): void {
    const opcode = { i32: [0x36], i64: [0x37], f32: [0x38], f64: [0x39], v128: simd(11) }[value.type];
    this.#code.push(...address.code, ...value.code, ...opcode, 0, ...unsigned(offset));
  }

  /** Lane 0 of a vector to memory. */
  storeLane(address: Expression, value: Expression, offset = 0): void {
    this.#code.push(...address.code, ...value.code, ...simd(90), 0, ...unsigned(offset), 0);
  }

  /** for (counter = start; counter < end; counter += step) body, signed. The counter is readable in the body. */
  loop(start: Operand, end: Operand, step: Operand, body: (counter: Local) => void): void {
    const counter = this.let(start);
    // An end that a body could change is read once.
    const bound = typeof end === "number" ? i32Constant(end) : this.let(end).get;
    this.if(i32.ltS(counter.get, bound), () => {
      this.#code.push(0x03, 0x40);
      body(counter);
      this.advance(counter, step);
      this.#code.push(...i32.ltS(counter.get, bound).code, 0x0d, 0, 0x0b);
    });
  }

  if(condition: Expression, then: () => void, otherwise?: () => void): void {
    this.#code.push(...condition.code, 0x04, 0x40);
    then();
    if (otherwise) {
      this.#code.push(0x05);
      otherwise();
    }
    this.#code.push(0x0b);
  }

  call(target: FunctionSignature, operands: readonly Operand[]): void {
    if (operands.length !== target.parameters.length)
      throw new TypeError(
        `function ${target.index} takes ${target.parameters.length} operands, got ${operands.length}`,
      );
    for (const operand of operands) this.#code.push(...asI32(operand).code);
    this.#code.push(0x10, ...unsigned(target.index));
  }

  /** The value that a function with a result returns for these operands. */
  callValue(target: FunctionSignature, operands: readonly Expression[]): Expression {
    if (target.result === undefined) throw new TypeError(`function ${target.index} has no result`);
    return {
      type: target.result,
      code: [...operands.flatMap((operand) => operand.code), 0x10, ...unsigned(target.index)],
    };
  }

  return(value: Expression): void {
    this.#code.push(...value.code, 0x0f);
  }

  /** min(a, b) of signed integers. */
  minimum(a: Operand, b: Operand): Expression {
    const left = this.let(a).get;
    const right = this.let(b).get;
    return { type: "i32", code: [...left.code, ...right.code, ...i32.ltS(left, right).code, 0x1b] };
  }

  /** condition ? a : b, both evaluated. */
  select(condition: Expression, a: Expression, b: Expression): Expression {
    return { type: a.type, code: [...a.code, ...b.code, ...condition.code, 0x1b] };
  }

  /** `unreachable` ends a function that has already returned its result. */
  body(hasResult: boolean): number[] {
    const locals = this.#locals.flatMap((type) => [1, typeByte[type]]);
    const content = [...unsigned(this.#locals.length), ...locals, ...this.#code, ...(hasResult ? [0x00] : []), 0x0b];
    return [...unsigned(content.length), ...content];
  }
}

export interface MemoryLimits {
  readonly pages: number;
  readonly maximumPages: number;
  readonly shared: boolean;
}

/** Functions by key: an equal key is emitted once. The memory is imported as "env"."memory". */
export class ModuleBuilder {
  readonly #functions: { parameters: readonly ValueType[]; result: ValueType | undefined; body: number[] }[] = [];
  readonly #byKey = new Map<string, FunctionSignature>();

  /** The function with this key, built at first need. Functions that it calls must be asked for inside `build`. */
  function(
    key: string,
    parameters: readonly ValueType[],
    build: (f: FunctionBuilder, ...locals: Local[]) => void,
    result?: ValueType,
  ): FunctionSignature {
    const known = this.#byKey.get(key);
    if (known) return known;
    const f = new FunctionBuilder(parameters);
    build(f, ...f.parameters);
    const signature = { index: this.#functions.length, parameters, result };
    this.#functions.push({ parameters, result, body: f.body(result !== undefined) });
    this.#byKey.set(key, signature);
    return signature;
  }

  get functionCount(): number {
    return this.#functions.length;
  }

  /** The binary; every function is exported under its index, and named by its key for profilers. */
  bytes(memory: MemoryLimits): Uint8Array<ArrayBuffer> {
    const signatures = new Map<string, number>();
    const types: number[][] = [];
    const typeOf = this.#functions.map(({ parameters, result }) => {
      const key = `${parameters.join()}:${result}`;
      let index = signatures.get(key);
      if (index === undefined) {
        index = types.length;
        signatures.set(key, index);
        types.push([
          0x60,
          ...unsigned(parameters.length),
          ...parameters.map((type) => typeByte[type]),
          ...(result ? [1, typeByte[result]] : [0]),
        ]);
      }
      return index;
    });
    const name = (text: string): number[] => {
      const letters = new TextEncoder().encode(text);
      return [...unsigned(letters.length), ...letters];
    };
    const vector = (items: readonly (readonly number[])[]): number[] => [...unsigned(items.length), ...items.flat()];
    const section = (id: number, content: readonly number[]): number[][] => [
      [id, ...unsigned(content.length)],
      [...content],
    ];
    const limits = [memory.shared ? 3 : 1, ...unsigned(memory.pages), ...unsigned(memory.maximumPages)];
    const chunks: number[][] = [
      [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
      ...section(1, vector(types)),
      ...section(2, vector([[...name("env"), ...name("memory"), 2, ...limits]])),
      ...section(3, vector(typeOf.map(unsigned))),
      ...section(7, vector(this.#functions.map((_, index) => [...name(`f${index}`), 0, ...unsigned(index)]))),
    ];
    const bodies = this.#functions.map(({ body }) => body);
    const codeBytes = unsigned(bodies.length).length + bodies.reduce((sum, body) => sum + body.length, 0);
    chunks.push([10, ...unsigned(codeBytes)], unsigned(bodies.length), ...bodies);
    const names = vector([...this.#byKey.keys()].map((key, index) => [...unsigned(index), ...name(key)]));
    chunks.push(...section(0, [...name("name"), 1, ...unsigned(names.length), ...names]));
    const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
    let at = 0;
    for (const chunk of chunks) {
      bytes.set(chunk, at);
      at += chunk.length;
    }
    return bytes;
  }
}

// formats/onnx: a node of the graph: its attributes and the sentence that refuses it. Portable.
import { InputError } from "../../errors.ts";
import { showText } from "../../show.ts";
import { type OnnxAttribute, type OnnxNode, onnxDtypes } from "./schema.ts";
import type { Pads, Sides } from "./steps.ts";

/** A node, opened. Inputs that are left out have the name "". */
export class NodeReader {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** For messages: `"/features/conv0/Conv" (Conv)`. */
  readonly title: string;
  readonly #attributes: ReadonlyMap<string, OnnxAttribute>;
  readonly #source: string;

  constructor(
    { opType = "", domain = "", name = "", input = [], output = [], attribute = [] }: OnnxNode,
    source: string,
  ) {
    this.op = domain === "" || domain === "ai.onnx" ? opType : `${domain}.${opType}`;
    this.inputs = input;
    this.outputs = output;
    this.title = `"${showText(name || (output[0] ?? ""))}" (${showText(this.op)})`;
    this.#attributes = new Map(attribute.map((each) => [each.name ?? "", each]));
    this.#source = source;
  }

  fail(what: string): InputError {
    return new InputError(`${this.#source}: its node ${this.title} ${what}`, { file: this.#source, node: this.title });
  }

  attribute(name: string): OnnxAttribute | undefined {
    return this.#attributes.get(name);
  }

  int(name: string, otherwise: number): number {
    const found = this.#attributes.get(name);
    return found === undefined ? otherwise : Number(found.i ?? 0n);
  }

  float(name: string, otherwise: number): number {
    return this.#attributes.get(name)?.f ?? otherwise;
  }

  text(name: string, otherwise: string): string {
    const found = this.#attributes.get(name)?.s;
    return found === undefined ? otherwise : new TextDecoder().decode(found);
  }

  ints(name: string): readonly number[] | undefined {
    return this.#attributes.get(name)?.ints?.map(Number);
  }

  /** Of a convolution or a pool over maps of `sides`, where these are known. */
  window(
    kernel: readonly number[],
    sides: Sides | undefined,
  ): { kernel: Sides; strides: Sides; pads: Pads; after?: Sides } {
    const strides = this.ints("strides") ?? [1, 1];
    const dilations = this.ints("dilations") ?? [1, 1];
    if ([kernel, strides, dilations].some((list) => list.length !== 2 || list.some((size) => !(size >= 1)))) {
      throw this.fail(`has a window of ${kernel.join("×")} and strides of ${strides.join(", ")}, expected two of each`);
    }
    if (dilations.some((size) => size !== 1)) throw this.fail("is dilated, which no DenseNet is");
    const pads = this.#pads(kernel, strides, sides);
    if (sides === undefined) return { kernel: pair(kernel), strides: pair(strides), pads };
    const leftOver = sides.map((side, i) => side + pads[i] + pads[i + 2] - kernel[i]);
    if (this.int("ceil_mode", 0) !== 0 && leftOver.some((left, i) => left % strides[i] !== 0)) {
      throw this.fail("rounds the size of its maps up, which ours does not");
    }
    const after = leftOver.map((left, i) => Math.floor(left / strides[i]) + 1);
    if (after.some((side) => side < 1)) throw this.fail(`reads maps of ${sides.join("×")}, less than its window`);
    return { kernel: pair(kernel), strides: pair(strides), pads, after: pair(after) };
  }

  #pads(kernel: readonly number[], strides: readonly number[], sides: Sides | undefined): Pads {
    const auto = this.text("auto_pad", "NOTSET");
    if (auto === "VALID") return [0, 0, 0, 0];
    if (auto === "SAME_UPPER" || auto === "SAME_LOWER") {
      const totals = kernel.map((size, i) => {
        if (strides[i] === 1) return size - 1;
        if (sides === undefined) throw this.fail(`pads by ${auto} maps of unknown size`);
        return Math.max(0, (Math.ceil(sides[i] / strides[i]) - 1) * strides[i] + size - sides[i]);
      });
      const less = totals.map((total) => Math.floor(total / 2));
      const more = totals.map((total, i) => total - less[i]);
      const [top, left] = auto === "SAME_UPPER" ? less : more;
      const [bottom, right] = auto === "SAME_UPPER" ? more : less;
      return [top, left, bottom, right];
    }
    const [top, left, bottom, right, ...rest] = this.ints("pads") ?? [0, 0, 0, 0];
    if (right === undefined || rest.length > 0) throw this.fail("has pads of other than two axes");
    return [top, left, bottom, right];
  }

  /** Of a cast. */
  isToFloats(): boolean {
    const { F32, F16, F64, BF16 } = onnxDtypes;
    return [F32, F16, F64, BF16].includes(this.int("to", F32));
  }
}

function pair([height, width]: readonly number[]): Sides {
  return [height, width];
}

/** Whether `order` has each of `rank` axes once. */
export function isOrder(order: readonly number[], rank: number): boolean {
  return order.length === rank && [...order].sort((a, b) => a - b).every((axis, i) => axis === i);
}

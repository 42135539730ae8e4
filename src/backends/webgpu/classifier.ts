// backends/webgpu: the classifier and the loss.
import { type Dispatch, f32, forEach, loneLanes, totalOf } from "./dispatch.ts";
import type { Emit } from "./kernel.ts";
import { emitDeepProduct, emitProduct } from "./product.ts";

const places = `struct Depth { k: u32 }
fn depth_at(k: u32) -> Depth { return Depth(k); }
struct Column { n: u32 }
fn column_at(column: u32) -> Column { return Column(column); }`;

export const emitLinear: Emit<"linear"> = ({ x, weight, bias, y, batch, classes }, at, target) => [
  emitProduct(
    {
      label: "linear",
      rows: classes,
      columns: batch,
      depth: x.channels,
      operands: { x: at.view(x), weight: at.buffer(weight), bias: at.buffer(bias), y: at.buffer(y) },
      numbers: { xStride: at.batchStride(x) },
      contiguous: "depth",
      code: `${places}
fn a_at(row: u32, at: Depth) -> f32 { return load_weight(row * call.depth + at.k); }
fn b_at(at: Depth, column: Column) -> f32 { return load_x(column.n * call.xStride + at.k); }
fn finish(row: u32, column: u32, value: f32) { store_y(column * call.rows + row, value + load_bias(row)); }`,
    },
    target,
  ),
];

export const emitLinearGrad: Emit<"linearGrad"> = (args, at, target): readonly Dispatch[] => {
  const { x, dx, batch, classes } = args;
  const [dy, weight] = [at.buffer(args.dy), at.buffer(args.weight)];
  const toWeight = emitDeepProduct(
    {
      label: "linearGrad weight",
      rows: classes,
      columns: x.channels,
      depth: batch,
      operands: { dy, x: at.view(x) },
      numbers: { xStride: at.batchStride(x) },
      contiguous: "column",
      code: `${places}
fn a_at(row: u32, at: Depth) -> f32 { return load_dy(at.k * call.rows + row); }
fn b_at(at: Depth, column: Column) -> f32 { return load_x(at.k * call.xStride + column.n); }`,
    },
    at.buffer(args.dWeight),
    at,
    target,
  );
  return [
    emitProduct(
      {
        label: "linearGrad x",
        rows: x.channels,
        columns: batch,
        depth: classes,
        operands: { dy, weight, dx: at.view(dx) },
        numbers: { dxStride: at.batchStride(dx) },
        contiguous: "depth",
        code: `${places}
fn a_at(row: u32, at: Depth) -> f32 { return load_weight(at.k * call.rows + row); }
fn b_at(at: Depth, column: Column) -> f32 { return load_dy(column.n * call.depth + at.k); }
fn finish(row: u32, column: u32, value: f32) { store_dx(column * call.dxStride + row, value); }`,
      },
      target,
    ),
    toWeight.product,
    ...(toWeight.sum ? [toWeight.sum] : []),
    forEach(classes, {
      label: "linearGrad bias",
      operands: { dy, dBias: at.buffer(args.dBias) },
      numbers: { batch },
      code: `fn each(k: u32) {
  var sum = 0.0;
  for (var n = 0u; n < call.batch; n++) { sum += load_dy(n * call.count + k); }
  store_dBias(k, sum);
}`,
    }),
  ];
};

/**
 * exp and log to about one unit in the last place, where WGSL allows 3 + 2·|x| of them. exp: x = n·ln 2 + r, |r| ≤ ln
 * 2/2, ln 2 in two parts (Cody, Waite), e^r by its series to r⁷ (remainder below 2⁻²⁶ relative), times 2ⁿ by the
 * exponent bits; below −87 it gives 0. log of x ≥ 1: x = m·2ⁿ with m in [√½, √2), ln m = 2·atanh(s), s = (m − 1)/(m +
 * 1), to s⁹.
 */
const elementary = `
fn exponential(x: f32) -> f32 {
  let n = round(x * ${f32(Math.LOG2E)});
  let r = fma(n, ${f32(0.693145751953125 - Math.LN2)}, fma(n, -0.693145751953125, x));
  var series = ${f32(1 / 5040)};
  series = fma(series, r, ${f32(1 / 720)});
  series = fma(series, r, ${f32(1 / 120)});
  series = fma(series, r, ${f32(1 / 24)});
  series = fma(series, r, ${f32(1 / 6)});
  series = fma(series, r, 0.5);
  series = fma(series, r, 1.0);
  series = fma(series, r, 1.0);
  return select(series * bitcast<f32>(u32(max(i32(n), -126) + 127) << 23u), 0.0, x < -87.0);
}
fn logarithm(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  var n = f32(i32(bits >> 23u) - 127);
  var m = bitcast<f32>((bits & 0x007fffffu) | 0x3f800000u);
  if (m > ${f32(Math.SQRT2)}) {
    m *= 0.5;
    n += 1.0;
  }
  let s = (m - 1.0) / (m + 1.0);
  let square = s * s;
  let tail = square * fma(square, fma(square, fma(square, ${f32(1 / 9)}, ${f32(1 / 7)}), 0.2), ${f32(1 / 3)});
  return fma(n, ${f32(Math.LN2)}, 2.0 * fma(s, tail, s));
}`;

/**
 * A workgroup for each sample. NaN is recognised by its bits, because WGSL lets a compiler assume that there is none.
 */
export const emitSoftmaxCrossEntropy: Emit<"softmaxCrossEntropy"> = (args, at) => {
  const { batch, classes, dLogits, scale, smoothing } = args;
  const shared = f32(smoothing / classes);
  return [
    {
      label: "softmaxCrossEntropy",
      operands: {
        logits: at.buffer(args.logits),
        labels: at.buffer(args.labels),
        sampleLoss: at.buffer(args.sampleLoss),
        sampleRank: at.buffer(args.sampleRank),
        ...(dLogits === undefined ? {} : { dLogits: at.buffer(dLogits) }),
      },
      numbers: {},
      code: `${totalOf("f32", loneLanes)}
${elementary}
fn isNan(value: f32) -> bool { return (bitcast<u32>(value) & 0x7fffffffu) > 0x7f800000u; }
fn body(sample: u32, lane: u32) {
  let row = sample * ${classes}u;
  let label = bitcast<u32>(load_labels(sample));
  let own = load_logits(row + label);
  var rank = 0.0;
  var nans = 0.0;
  var largest = own;
  for (var k = lane; k < ${classes}u; k += ${loneLanes}u) {
    let logit = load_logits(row + k);
    largest = max(largest, logit);
    nans += select(0.0, 1.0, isNan(logit));
    rank += select(0.0, 1.0, logit > own || (logit == own && k < label));
  }
  lanes[lane] = largest;
  workgroupBarrier();
  for (var i = 0u; i < ${loneLanes}u; i++) { largest = max(largest, lanes[i]); }
  workgroupBarrier();
  let before = total(rank, lane);
  let spoiled = total(nans, lane) > 0.0;
  var powers = 0.0;
  for (var k = lane; k < ${classes}u; k += ${loneLanes}u) { powers += exponential(load_logits(row + k) - largest); }
  let all = total(powers, lane);
${
  smoothing === 0
    ? "  let distance = largest - own;"
    : `  var distances = 0.0;
  for (var k = lane; k < ${classes}u; k += ${loneLanes}u) { distances += largest - load_logits(row + k); }
  let distance = ${f32(1 - smoothing)} * (largest - own) + ${shared} * total(distances, lane);`
}
  // Not computed from a NaN, whose bits a compiler may drop: stored as one.
  let nan = bitcast<f32>(0x7fc00000u + min(0u, label));
  if (lane == 0u) {
    store_sampleLoss(sample, select(logarithm(all) + distance, nan, spoiled));
    store_sampleRank(sample, select(before, ${f32(classes - 1)}, spoiled));
  }
${
  dLogits === undefined
    ? ""
    : `  for (var k = lane; k < ${classes}u; k += ${loneLanes}u) {
    let share = exponential(load_logits(row + k) - largest) / all - select(${shared}, ${f32(1 - smoothing + smoothing / classes)}, k == label);
    store_dLogits(row + k, select(${f32(scale)} * share, nan, spoiled));
  }`
}
}`,
      size: loneLanes,
      groups: batch,
    },
  ];
};

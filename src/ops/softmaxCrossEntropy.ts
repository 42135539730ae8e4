// ops: softmax and cross-entropy in one, the training loss (paper, section 4). Together they need no logarithm of a
// tiny number.
import { InputError } from "../errors.ts";
import { expectShape, noMacs, type Op, type Shape, type Tensor } from "./op.ts";

/**
 * Label smoothing (Szegedy et al., Rethinking the Inception Architecture, section 7): the label has the probability
 * 1 − smoothing + smoothing/K, each other of the K classes smoothing/K. In [0, 1); 0 trains on the label alone.
 */
export type SmoothingAttrs = { readonly smoothing: number };

function expectLogits(op: string, logits: Shape, labels: Shape): void {
  expectShape(op, "logits", logits, [undefined, undefined]);
  expectShape(op, "labels", labels, [logits[0]]);
}

/** log Σ_k exp(logits[n,k]), shifted by the maximum so that nothing overflows. */
function logSumExp(logits: Tensor, n: number): number {
  const classes = logits.shape[1];
  let maximum = Number.NEGATIVE_INFINITY;
  for (let k = 0; k < classes; k++) maximum = Math.max(maximum, logits.data[n * classes + k]);
  let sum = 0;
  for (let k = 0; k < classes; k++) sum += Math.exp(logits.data[n * classes + k] - maximum);
  return maximum + Math.log(sum);
}

function labelOf(labels: Tensor, n: number, classes: number): number {
  const label = labels.data[n];
  if (Number.isInteger(label) && label >= 0 && label < classes) return label;
  throw new InputError(`labels[${n}] is ${label}, expected a class from 0 to ${classes - 1}`, { n, label, classes });
}

/**
 * (logits [N,K], labels [N]) → loss [] = mean over N of −Σ_k q_k·log softmax(logits[n])[k], with q the smoothed label.
 */
export const softmaxCrossEntropy: Op<SmoothingAttrs> = {
  name: "softmaxCrossEntropy",
  outputs: ["loss"],
  contraction: false,
  shapes([logits, labels]) {
    expectLogits("softmaxCrossEntropy", logits, labels);
    return [[]];
  },
  macs: noMacs,
  reference([logits, labels], [loss], { smoothing }) {
    const [batch, classes] = logits.shape;
    let sum = 0;
    for (let n = 0; n < batch; n++) {
      const total = logSumExp(logits, n);
      sum += (1 - smoothing) * (total - logits.data[n * classes + labelOf(labels, n, classes)]);
      for (let k = 0; k < classes; k++) sum += (smoothing / classes) * (total - logits.data[n * classes + k]);
    }
    loss.data[0] = sum / batch;
  },
  gradient: ({ inputs: [logits, labels], attrs, emit }) => [
    emit(softmaxCrossEntropyGrad, [logits, labels], attrs)[0],
    undefined,
  ],
};

/**
 * (logits, labels) → dLogits [N,K] = (softmax(logits) − q)/N: the gradient of the loss itself, which nothing consumes.
 */
export const softmaxCrossEntropyGrad: Op<SmoothingAttrs> = {
  name: "softmaxCrossEntropyGrad",
  outputs: ["dLogits"],
  contraction: false,
  shapes([logits, labels]) {
    expectLogits("softmaxCrossEntropyGrad", logits, labels);
    return [logits];
  },
  macs: noMacs,
  reference([logits, labels], [dLogits], { smoothing }) {
    const [batch, classes] = logits.shape;
    for (let n = 0; n < batch; n++) {
      const total = logSumExp(logits, n);
      const label = labelOf(labels, n, classes);
      for (let k = 0; k < classes; k++) {
        const probability = Math.exp(logits.data[n * classes + k] - total);
        dLogits.data[n * classes + k] = (probability - (k === label ? 1 - smoothing : 0) - smoothing / classes) / batch;
      }
    }
  },
};

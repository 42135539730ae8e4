// ops: softmax and cross-entropy in one, the training loss (paper, section 4). Together they need no logarithm of a
// tiny number.
import { InputError } from "../errors.ts";
import { expectShape, type NoAttrs, noMacs, type Op, type Shape, type Tensor } from "./op.ts";

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

/** (logits [N,K], labels [N]) → loss [] = mean over N of −log softmax(logits[n])[labels[n]]. */
export const softmaxCrossEntropy: Op<NoAttrs> = {
  name: "softmaxCrossEntropy",
  outputs: ["loss"],
  contraction: false,
  shapes([logits, labels]) {
    expectLogits("softmaxCrossEntropy", logits, labels);
    return [[]];
  },
  macs: noMacs,
  reference([logits, labels], [loss]) {
    const [batch, classes] = logits.shape;
    let sum = 0;
    for (let n = 0; n < batch; n++) {
      sum += logSumExp(logits, n) - logits.data[n * classes + labelOf(labels, n, classes)];
    }
    loss.data[0] = sum / batch;
  },
  gradient: ({ inputs: [logits, labels], emit }) => [emit(softmaxCrossEntropyGrad, [logits, labels], {})[0], undefined],
};

/**
 * (logits, labels) → dLogits [N,K] = (softmax(logits) − onehot(labels))/N: the gradient of the loss itself, which
 * nothing consumes.
 */
export const softmaxCrossEntropyGrad: Op<NoAttrs> = {
  name: "softmaxCrossEntropyGrad",
  outputs: ["dLogits"],
  contraction: false,
  shapes([logits, labels]) {
    expectLogits("softmaxCrossEntropyGrad", logits, labels);
    return [logits];
  },
  macs: noMacs,
  reference([logits, labels], [dLogits]) {
    const [batch, classes] = logits.shape;
    for (let n = 0; n < batch; n++) {
      const total = logSumExp(logits, n);
      const label = labelOf(labels, n, classes);
      for (let k = 0; k < classes; k++) {
        const probability = Math.exp(logits.data[n * classes + k] - total);
        dLogits.data[n * classes + k] = (probability - (k === label ? 1 : 0)) / batch;
      }
    }
  },
};

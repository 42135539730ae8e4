// backends/wasm: y = conv2d(composite(x), w).
//
// Shapes: x [N, C, H, W] view, w [O, C, k, k], y [N, O, H', W'] view.
// Parallel, traffic, numerics: as product.ts, y is written once; or as winograd.ts.
import { i32, type ModuleBuilder } from "./assembler.ts";
import { coefficients } from "./composite.ts";
import { emitWinogradConv } from "./convWinograd.ts";
import { type CompiledKernel, type Emit, type Phase, phase } from "./kernel.ts";
import { copyResults, emitProduct, type Product, pack, planProduct, productValues, shapeKey } from "./product.ts";
import { winogradPays } from "./winograd.ts";

export const emitConv: Emit<"conv"> = (module, target, args, at): CompiledKernel => {
  const { x, y, size, composite } = args;
  if (winogradPays(size, x.channels, y.channels)) return emitWinogradConv(module, target, args, at);
  const product = planProduct(x.channels, y.channels, size, composite ? x.channels : 0, target, at, args.weight);
  const plane = size.outHeight * size.outWidth * 4;
  const normalize = composite && {
    mean: at.view(composite.mean),
    variance: at.view(composite.variance),
    gamma: at.buffer(composite.gamma),
    beta: at.buffer(composite.beta),
  };
  const run = phase(
    module,
    `conv ${shapeKey(product)} composite=${composite ? composite.eps : "none"}`,
    {
      ...productValues(
        product,
        { x: at.view(x), xStride: at.batchStride(x), weights: at.buffer(args.weight) },
        x.channels,
        y.channels,
      ),
      y: at.view(y),
      yStride: at.batchStride(y),
      mean: normalize?.mean ?? 0,
      variance: normalize?.variance ?? 0,
      gamma: normalize?.gamma ?? 0,
      beta: normalize?.beta ?? 0,
    },
    (f, o, worker) => {
      if (composite)
        f.call(coefficients(module, composite.eps), [o.mean, o.variance, o.gamma, o.beta, o.channels, worker.scratch]);
      emitProduct(
        f,
        module,
        target,
        product,
        o,
        worker,
        { withComposite: composite !== undefined, transposed: false },
        (unit, results) => copyResults(f, product, unit, results, o, { address: o.y, stride: o.yStride, plane }),
      );
    },
  );
  const prepare = product.kept ? [packPhase(module, product, at.buffer(args.weight), y.channels)] : [];
  return { phases: [run], prepare, scratchBytes: product.layout.bytes, sharedBytes: 0 };
};

/** The weights of a forward product to where they are kept; one thread packs them. */
function packPhase(module: ModuleBuilder, product: Product, weights: number, outputs: number): Phase {
  const { shape, tiles, taps, layout } = product;
  return phase(
    module,
    `packWeights taps=${taps} height=${tiles.height}`,
    { weights, to: layout.packed, contraction: shape.contraction, outputs, tall: tiles.tall, low: tiles.low },
    (f, o, worker) => {
      f.if(i32.ltU(worker.thread, 1), () =>
        f.call(pack(module, taps, tiles.height, false), [o.weights, o.to, o.contraction, o.outputs, o.tall, o.low]),
      );
    },
  );
}

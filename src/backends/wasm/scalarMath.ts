// backends/wasm: exp and log, which WebAssembly lacks, computed in f64 so that the f32 result is right to the last bit
// or nearly.
import { type Expression, type FunctionBuilder, f32, f64, i32, i64, type ModuleBuilder } from "./assembler.ts";

type ScalarFunction = (f: FunctionBuilder, x: Expression) => Expression;

/**
 * e^x for an f32 x ≤ 88: x = n·ln 2 + r with |r| ≤ ln 2 / 2, e^r by its Taylor series to r¹¹ (remainder below 2⁻⁴⁵
 * relative), times 2ⁿ by the exponent bits. x < −87 gives 0 (the softmax terms it serves vanish there); NaN stays NaN.
 */
export function expF32(module: ModuleBuilder): ScalarFunction {
  const signature = module.function(
    "expF32",
    ["f32"],
    (f, argument) => {
      const x = argument.get;
      f.if(f32.lt(x, f32.const(-87)), () => f.return(f32.const(0)));
      f.if(f32.ne(x, x), () => f.return(x));
      const wide = f.let(f64.fromF32(x)).get;
      const n = f.let(f64.nearest(f64.mul(wide, f64.const(Math.LOG2E)))).get;
      const r = f.let(f64.sub(wide, f64.mul(n, f64.const(Math.LN2)))).get;
      const series = f.let(f64.const(1));
      for (let term = 11; term >= 1; term--) {
        f.set(series, f64.add(f64.const(1), f64.mul(f64.mul(series.get, r), f64.const(1 / term))));
      }
      const power = f64.reinterpret(i64.shl(i64.add(i64.fromF64(n), i64.const(1023)), i64.const(52)));
      f.return(f32.fromF64(f64.mul(series.get, power)));
    },
    "f32",
  );
  return (f, x) => f.callValue(signature, [x]);
}

/**
 * ln x for a finite f32 x ≥ 1: x = m·2ⁿ with m in [√½, √2), ln m = 2·atanh(s), s = (m − 1)/(m + 1), |s| < 0.172, by its
 * series to s¹⁵ (remainder below 2⁻⁴⁵). Anything not below infinity is returned as it is.
 */
export function logF32(module: ModuleBuilder): ScalarFunction {
  const signature = module.function(
    "logF32",
    ["f32"],
    (f, argument) => {
      const x = argument.get;
      f.if(i32.eq(f32.lt(x, f32.const(Number.POSITIVE_INFINITY)), 0), () => f.return(x));
      const bits = f.let(i64.reinterpret(f64.fromF32(x))).get;
      const half = f.let(
        f64.reinterpret(i64.or(i64.and(bits, i64.const(0x000fffffffffffffn)), i64.const(0x3ff0000000000000n))),
      ).get;
      const large = f.let(f64.gt(half, f64.const(Math.SQRT2))).get;
      const m = f.let(f.select(large, f64.mul(half, f64.const(0.5)), half)).get;
      const exponent = f64.sub(f64.fromI64(i64.shrU(bits, i64.const(52))), f64.const(1023));
      const n = f.let(f.select(large, f64.add(exponent, f64.const(1)), exponent)).get;
      const s = f.let(f64.div(f64.sub(m, f64.const(1)), f64.add(m, f64.const(1)))).get;
      const square = f.let(f64.mul(s, s)).get;
      const series = f.let(f64.const(1 / 15));
      for (let power = 13; power >= 1; power -= 2)
        f.set(series, f64.add(f64.const(1 / power), f64.mul(series.get, square)));
      f.return(f32.fromF64(f64.add(f64.mul(n, f64.const(Math.LN2)), f64.mul(f64.mul(f64.const(2), s), series.get))));
    },
    "f32",
  );
  return (f, x) => f.callValue(signature, [x]);
}

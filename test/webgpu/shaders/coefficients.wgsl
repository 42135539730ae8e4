struct Call { mean: u32, variance: u32, gamma: u32, beta: u32, coefficients: u32, count: u32, groups: u32 }
struct Run { learningRate: f32, seed: u32, step: u32, unused: u32 }
@group(0) @binding(0) var<uniform> call: Call;
@group(0) @binding(1) var<uniform> run: Run;
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read_write> window0: array<f32>;
@group(0) @binding(4) var<storage, read_write> window1: array<f32>;
@group(0) @binding(5) var<storage, read_write> window2: array<f32>;

fn load_mean(i: u32) -> f32 { return window0[call.mean + i]; }
fn load_variance(i: u32) -> f32 { return window0[call.variance + i]; }
fn load_gamma(i: u32) -> f32 { return window1[call.gamma + i]; }
fn load_beta(i: u32) -> f32 { return window1[call.beta + i]; }
fn store_coefficients(i: u32, value: f32) { window2[call.coefficients + i] = value; }

/** WGSL allows inverseSqrt an error of 2 ulp; one step of Newton's leaves about one. */
fn inverseRoot(x: f32) -> f32 {
  let r = inverseSqrt(x);
  return r * fma(-0.5 * x * r, r, 1.5);
}
fn each(c: u32) {
  let rstd = inverseRoot(load_variance(c) + 0.000009999999747378752f);
  let scale = load_gamma(c) * rstd;
  store_coefficients(4u * c, scale);
  store_coefficients(4u * c + 1u, fma(-load_mean(c), scale, load_beta(c)));
  store_coefficients(4u * c + 2u, load_mean(c));
  store_coefficients(4u * c + 3u, rstd);
}
fn body(group: u32, lane: u32) {
  let i = group * 64u + lane;
  if (i < call.count) { each(i); }
}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
  let group = id.y * 65535u + id.x;
  if (group < call.groups) { body(group, lane); }
}

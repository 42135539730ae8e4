struct Call { sums: u32, mean: u32, variance: u32, gamma: u32, beta: u32, dGamma: u32, dBeta: u32, dMean: u32, dVariance: u32, parts: u32, groups: u32 }
struct Run { learningRate: f32, seed: u32, step: u32, firstCorrection: f32, secondCorrection: f32 }
@group(0) @binding(0) var<uniform> call: Call;
@group(0) @binding(1) var<uniform> run: Run;
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read_write> window0: array<f32>;
@group(0) @binding(4) var<storage, read_write> window1: array<f32>;
@group(0) @binding(5) var<storage, read_write> window2: array<f32>;

fn load_sums(i: u32) -> f32 { return window2[call.sums + i]; }
fn load_mean(i: u32) -> f32 { return window0[call.mean + i]; }
fn load_variance(i: u32) -> f32 { return window0[call.variance + i]; }
fn load_gamma(i: u32) -> f32 { return window1[call.gamma + i]; }
fn load_beta(i: u32) -> f32 { return window1[call.beta + i]; }
fn store_dGamma(i: u32, value: f32) { window1[call.dGamma + i] = value; }
fn store_dBeta(i: u32, value: f32) { window1[call.dBeta + i] = value; }
fn store_dMean(i: u32, value: f32) { window0[call.dMean + i] = value; }
fn store_dVariance(i: u32, value: f32) { window0[call.dVariance + i] = value; }
var<workgroup> lanes: array<vec2f, 64>;
fn total(value: vec2f, lane: u32) -> vec2f {
  lanes[lane] = value;
  workgroupBarrier();
  var sums = array(lanes[0], lanes[1], lanes[2], lanes[3]);
  for (var i = 4u; i < 64u; i += 4u) {
    sums[0] += lanes[i];
    sums[1] += lanes[i + 1u];
    sums[2] += lanes[i + 2u];
    sums[3] += lanes[i + 3u];
  }
  workgroupBarrier();
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}
struct Channel { scale: f32, shift: f32, mean: f32, rstd: f32 }
fn channel_at(c: u32) -> Channel {
  let spread = load_variance(c) + 0.000009999999747378752f;
  let root = inverseSqrt(spread);
  let rstd = root * fma(-0.5 * spread * root, root, 1.5);
  let scale = load_gamma(c) * rstd;
  return Channel(scale, fma(-load_mean(c), scale, load_beta(c)), load_mean(c), rstd);
}
fn activate(value: f32, channel: Channel) -> f32 {
  let pre = fma(value, channel.scale, channel.shift);
  return select(pre, 0.0, pre < 0.0);
}
fn body(c: u32, lane: u32) {
  var own = vec2f(0.0);
  for (var i = lane; i < call.parts; i += 64u) {
    let part = 2u * (c * call.parts + i);
    own += vec2f(load_sums(part), load_sums(part + 1u));
  }
  let sum = total(own, lane);
  if (lane > 0u) { return; }
  let channel = channel_at(c);
  store_dBeta(c, sum.x);
  store_dGamma(c, sum.y);
  store_dMean(c, 0.0 - channel.scale * sum.x);
  store_dVariance(c, 0.0 - 0.5 * channel.scale * channel.rstd * sum.y);
}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
  let group = id.y * 65535u + id.x;
  if (group < call.groups) { body(group, lane); }
}

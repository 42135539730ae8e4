struct Call { moments: u32, mean: u32, variance: u32, parts: u32, partCount: u32, count: u32, groups: u32 }
struct Run { learningRate: f32, seed: u32, step: u32, firstCorrection: f32, secondCorrection: f32 }
@group(0) @binding(0) var<uniform> call: Call;
@group(0) @binding(1) var<uniform> run: Run;
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read_write> window0: array<f32>;
@group(0) @binding(4) var<storage, read_write> window1: array<f32>;

fn load_moments(i: u32) -> f32 { return window1[call.moments + i]; }
fn store_mean(i: u32, value: f32) { window0[call.mean + i] = value; }
fn store_variance(i: u32, value: f32) { window0[call.variance + i] = value; }
var<workgroup> lanes: array<f32, 64>;
fn total(value: f32, lane: u32) -> f32 {
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
fn values(part: u32) -> f32 { return f32(min(call.partCount, call.count - part * call.partCount)); }
fn body(c: u32, lane: u32) {
  let first = c * call.parts;
  var own = 0.0;
  for (var i = lane; i < call.parts; i += 64u) { own = fma(load_moments(2u * (first + i)), values(i), own); }
  let mean = total(own, lane) / f32(call.count);
  var squares = 0.0;
  for (var i = lane; i < call.parts; i += 64u) {
    let away = load_moments(2u * (first + i)) - mean;
    squares += fma(away * away, values(i), load_moments(2u * (first + i) + 1u));
  }
  squares = total(squares, lane);
  if (lane > 0u) { return; }
  store_mean(c, mean);
  store_variance(c, squares / f32(call.count));
}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
  let group = id.y * 65535u + id.x;
  if (group < call.groups) { body(group, lane); }
}

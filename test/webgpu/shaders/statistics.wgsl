struct Call { x: u32, moments: u32, xStride: u32, parts: u32, groups: u32 }
struct Run { learningRate: f32, seed: u32, step: u32, unused: u32 }
@group(0) @binding(0) var<uniform> call: Call;
@group(0) @binding(1) var<uniform> run: Run;
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read_write> window0: array<f32>;
@group(0) @binding(4) var<storage, read_write> window1: array<f32>;

fn load_x(i: u32) -> f32 { return window0[call.x + i]; }
fn store_moments(i: u32, value: f32) { window1[call.moments + i] = value; }
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
fn body(group: u32, lane: u32) {
  let c = group / call.parts;
  let first = group % call.parts * 4u;
  let count = 1024u * (min(first + 4u, 64u) - first);
  let base = first * call.xStride + c * 1024u;
  var own = 0.0;
  for (var i = lane; i < count; i += 64u) { own += load_x(base + i / 1024u * call.xStride + i % 1024u); }
  let mean = total(own, lane) / f32(count);
  var squares = 0.0;
  for (var i = lane; i < count; i += 64u) {
    let away = load_x(base + i / 1024u * call.xStride + i % 1024u) - mean;
    squares = fma(away, away, squares);
  }
  squares = total(squares, lane);
  if (lane > 0u) { return; }
  store_moments(2u * group, mean);
  store_moments(2u * group + 1u, squares);
}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
  let group = id.y * 65535u + id.x;
  if (group < call.groups) { body(group, lane); }
}

struct Call { x: u32, weight: u32, y: u32, mean: u32, variance: u32, gamma: u32, beta: u32, xStride: u32, yStride: u32, rows: u32, columns: u32, depth: u32, share: u32, rowTiles: u32, columnTiles: u32, groups: u32 }
struct Run { learningRate: f32, seed: u32, step: u32, unused: u32 }
@group(0) @binding(0) var<uniform> call: Call;
@group(0) @binding(1) var<uniform> run: Run;
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read_write> window0: array<f32>;
@group(0) @binding(4) var<storage, read_write> window1: array<f32>;

fn load_x(i: u32) -> f32 { return window0[call.x + i]; }
fn load_weight(i: u32) -> f32 { return window1[call.weight + i]; }
fn store_y(i: u32, value: f32) { window0[call.y + i] = value; }
fn load_mean(i: u32) -> f32 { return window0[call.mean + i]; }
fn load_variance(i: u32) -> f32 { return window0[call.variance + i]; }
fn load_gamma(i: u32) -> f32 { return window1[call.gamma + i]; }
fn load_beta(i: u32) -> f32 { return window1[call.beta + i]; }

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
fn sample(plane: u32, y: i32, x: i32, channel: Channel) -> f32 {
  return activate(load_x(plane + u32(y) * 32u + u32(x)), channel);
}
struct Depth { k: u32, plane: u32, y: i32, x: i32, channel: Channel }
fn depth_at(k: u32) -> Depth {
  let c = k / 1u;
  let tap = k % 1u;
  return Depth(k, c * 1024u, i32(tap / 1u), i32(tap % 1u), channel_at(c));
}
struct Column { image: u32, y: i32, x: i32 }
fn column_at(column: u32) -> Column {
  let p = column % 1024u;
  return Column(
    (column / 1024u) * call.xStride,
    i32(p / 32u) * 1 - 0,
    i32(p % 32u) * 1 - 0);
}
fn a_at(row: u32, at: Depth) -> f32 { return load_weight(row * call.depth + at.k); }
fn b_at(at: Depth, column: Column) -> f32 {
  return sample(column.image + at.plane, column.y + at.y, column.x + at.x, at.channel);
}
fn finish(row: u32, column: u32, value: f32) {
  store_y((column / 1024u) * call.yStride + row * 1024u + column % 1024u, value);
}
var<workgroup> memory: array<vec4f, 720>;

fn body(group: u32, lane: u32) {
  let tile = group % (call.rowTiles * call.columnTiles);
  let split = group / (call.rowTiles * call.columnTiles);
  let firstRow = (tile % call.rowTiles) * 48u;
  let firstColumn = (tile / call.rowTiles) * 64u;
  let down = lane / 16u;
  let across = lane % 16u;
  let row = firstRow + 4u * down;
  let begin = split * call.share;
  let end = min(begin + call.share, call.depth);
  var sum0 = vec4f(0.0);
  var sum1 = vec4f(0.0);
  var sum2 = vec4f(0.0);
  var sum3 = vec4f(0.0);
  let staged = lane % 16u;
  let column0 = column_at(min(firstColumn + staged + 0u, call.columns - 1u));
  let column1 = column_at(min(firstColumn + staged + 16u, call.columns - 1u));
  let column2 = column_at(min(firstColumn + staged + 32u, call.columns - 1u));
  let column3 = column_at(min(firstColumn + staged + 48u, call.columns - 1u));
  for (var first = begin; first < end; first += 24u) {
    workgroupBarrier();
    for (var e = lane; e < 288u; e += 192u) {
      let k = e % 24u;
      let row = firstRow + 4u * (e / 24u);
      var value = vec4f(0.0);
      if (first + k < end) {
        let at = depth_at(first + k);
        value = vec4f(a_at(min(row + 0u, call.rows - 1u), at), a_at(min(row + 1u, call.rows - 1u), at), a_at(min(row + 2u, call.rows - 1u), at), a_at(min(row + 3u, call.rows - 1u), at));
      }
      memory[k * 13u + e / 24u] = value;
    }
    for (var k = lane / 16u; k < 24u; k += 12u) {
      var value = vec4f(0.0);
      if (first + k < end) {
        let at = depth_at(first + k);
        value = vec4f(b_at(at, column0), b_at(at, column1), b_at(at, column2), b_at(at, column3));
      }
      memory[312u + k * 17u + staged] = value;
    }
    workgroupBarrier();
    for (var k = 0u; k < 24u; k++) {
      let rows = memory[k * 13u + down];
      let columns = memory[312u + k * 17u + across];
      sum0 = fma(rows, vec4f(columns[0]), sum0);
      sum1 = fma(rows, vec4f(columns[1]), sum1);
      sum2 = fma(rows, vec4f(columns[2]), sum2);
      sum3 = fma(rows, vec4f(columns[3]), sum3);
    }
  }

  {
    let column = firstColumn + across + 0u;
    if (column < call.columns) {
      if (row + 0u < call.rows) { finish(row + 0u, column, sum0[0]); }
      if (row + 1u < call.rows) { finish(row + 1u, column, sum0[1]); }
      if (row + 2u < call.rows) { finish(row + 2u, column, sum0[2]); }
      if (row + 3u < call.rows) { finish(row + 3u, column, sum0[3]); }
    }
  }
  {
    let column = firstColumn + across + 16u;
    if (column < call.columns) {
      if (row + 0u < call.rows) { finish(row + 0u, column, sum1[0]); }
      if (row + 1u < call.rows) { finish(row + 1u, column, sum1[1]); }
      if (row + 2u < call.rows) { finish(row + 2u, column, sum1[2]); }
      if (row + 3u < call.rows) { finish(row + 3u, column, sum1[3]); }
    }
  }
  {
    let column = firstColumn + across + 32u;
    if (column < call.columns) {
      if (row + 0u < call.rows) { finish(row + 0u, column, sum2[0]); }
      if (row + 1u < call.rows) { finish(row + 1u, column, sum2[1]); }
      if (row + 2u < call.rows) { finish(row + 2u, column, sum2[2]); }
      if (row + 3u < call.rows) { finish(row + 3u, column, sum2[3]); }
    }
  }
  {
    let column = firstColumn + across + 48u;
    if (column < call.columns) {
      if (row + 0u < call.rows) { finish(row + 0u, column, sum3[0]); }
      if (row + 1u < call.rows) { finish(row + 1u, column, sum3[1]); }
      if (row + 2u < call.rows) { finish(row + 2u, column, sum3[2]); }
      if (row + 3u < call.rows) { finish(row + 3u, column, sum3[3]); }
    }
  }


}
@compute @workgroup_size(192)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
  let group = id.y * 65535u + id.x;
  if (group < call.groups) { body(group, lane); }
}

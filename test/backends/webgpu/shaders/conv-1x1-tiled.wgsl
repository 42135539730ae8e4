struct Call { x: u32, weight: u32, y: u32, mean: u32, variance: u32, gamma: u32, beta: u32, rowEnds: u32, xStride: u32, yStride: u32, rows: u32, columns: u32, depth: u32, share: u32, rowTiles: u32, columnTiles: u32, groups: u32 }
struct Run { learningRate: f32, seed: u32, step: u32, firstCorrection: f32, secondCorrection: f32 }
@group(0) @binding(0) var<uniform> call: Call;
@group(0) @binding(1) var<uniform> run: Run;
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read_write> window0: array<f32>;
@group(0) @binding(4) var<storage, read_write> window1: array<f32>;
@group(0) @binding(5) var<storage, read_write> window2: array<f32>;

fn load_x(i: u32) -> f32 { return window0[call.x + i]; }
fn load_weight(i: u32) -> f32 { return window1[call.weight + i]; }
fn stored_y(i: u32, value: f32) -> f32 { window0[call.y + i] = value; return value; }
fn load_mean(i: u32) -> f32 { return window0[call.mean + i]; }
fn load_variance(i: u32) -> f32 { return window0[call.variance + i]; }
fn load_gamma(i: u32) -> f32 { return window1[call.gamma + i]; }
fn load_beta(i: u32) -> f32 { return window1[call.beta + i]; }
fn store_rowEnds(i: u32, value: f32) { window2[call.rowEnds + i] = value; }
var<workgroup> memory: array<vec4f, 720>;

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

fn finish(row: u32, column: u32, value: f32) -> f32 {
  let image = column / 1024u;
  let p = row * 1024u + column % 1024u;
  let kept = value;
  return stored_y(image * call.yStride + p, kept);
}


fn rowEnd(row: u32, across: u32) -> vec2f {
  let four = memory[2u * (row / 4u * 16u + across) + row % 4u / 2u];
  return select(four.xy, four.zw, row % 2u == 1u);
}
fn columnsOf(first: u32) -> u32 { return min(4u, (max(call.columns, first) - first + 15u) / 16u); }
fn moments(values: vec4f, count: u32) -> vec2f {
  let mean = (values[0] + values[1] + values[2] + values[3]) / f32(max(count, 1u));
  let away = select(vec4f(0.0), values - mean, vec4u(0u, 1u, 2u, 3u) < vec4u(count));
  return vec2f(mean, dot(away, away));
}
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
      let four = e / 24u;
      let row = firstRow + 4u * four;
      var value = vec4f(0.0);
      if (first + k < end) {
        let at = depth_at(first + k);
        value = vec4f(a_at(min(row + 0u, call.rows - 1u), at), a_at(min(row + 1u, call.rows - 1u), at), a_at(min(row + 2u, call.rows - 1u), at), a_at(min(row + 3u, call.rows - 1u), at));
      }
      memory[k * 13u + four] = value;
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
  var kept0 = vec4f(0.0);
  var kept1 = vec4f(0.0);
  var kept2 = vec4f(0.0);
  var kept3 = vec4f(0.0);
  {
    let column = firstColumn + across + 0u;
    if (column < call.columns) {
      if (row + 0u < call.rows) { kept0[0] = finish(row + 0u, column, sum0[0]); }
      if (row + 1u < call.rows) { kept1[0] = finish(row + 1u, column, sum0[1]); }
      if (row + 2u < call.rows) { kept2[0] = finish(row + 2u, column, sum0[2]); }
      if (row + 3u < call.rows) { kept3[0] = finish(row + 3u, column, sum0[3]); }
    }
  }
  {
    let column = firstColumn + across + 16u;
    if (column < call.columns) {
      if (row + 0u < call.rows) { kept0[1] = finish(row + 0u, column, sum1[0]); }
      if (row + 1u < call.rows) { kept1[1] = finish(row + 1u, column, sum1[1]); }
      if (row + 2u < call.rows) { kept2[1] = finish(row + 2u, column, sum1[2]); }
      if (row + 3u < call.rows) { kept3[1] = finish(row + 3u, column, sum1[3]); }
    }
  }
  {
    let column = firstColumn + across + 32u;
    if (column < call.columns) {
      if (row + 0u < call.rows) { kept0[2] = finish(row + 0u, column, sum2[0]); }
      if (row + 1u < call.rows) { kept1[2] = finish(row + 1u, column, sum2[1]); }
      if (row + 2u < call.rows) { kept2[2] = finish(row + 2u, column, sum2[2]); }
      if (row + 3u < call.rows) { kept3[2] = finish(row + 3u, column, sum2[3]); }
    }
  }
  {
    let column = firstColumn + across + 48u;
    if (column < call.columns) {
      if (row + 0u < call.rows) { kept0[3] = finish(row + 0u, column, sum3[0]); }
      if (row + 1u < call.rows) { kept1[3] = finish(row + 1u, column, sum3[1]); }
      if (row + 2u < call.rows) { kept2[3] = finish(row + 2u, column, sum3[2]); }
      if (row + 3u < call.rows) { kept3[3] = finish(row + 3u, column, sum3[3]); }
    }
  }
  let own0 = moments(kept0, columnsOf(firstColumn + across));
  let own1 = moments(kept1, columnsOf(firstColumn + across));
  let own2 = moments(kept2, columnsOf(firstColumn + across));
  let own3 = moments(kept3, columnsOf(firstColumn + across));
  workgroupBarrier();
  memory[2u * lane] = vec4f(own0, own1);
  memory[2u * lane + 1u] = vec4f(own2, own3);
  workgroupBarrier();
  if (lane < 48u && firstRow + lane < call.rows) {
    var mean = 0.0;
    for (var i = 0u; i < 16u; i++) { mean = fma(f32(columnsOf(firstColumn + i)), rowEnd(lane, i).x, mean); }
    mean /= f32(min(64u, call.columns - firstColumn));
    var all = vec2f(mean, 0.0);
    for (var i = 0u; i < 16u; i++) {
      let end = rowEnd(lane, i);
      let away = end.x - mean;
      all.y += fma(f32(columnsOf(firstColumn + i)), away * away, end.y);
    }
    let to = 2u * ((firstRow + lane) * call.columnTiles + tile / call.rowTiles);
    store_rowEnds(to, all.x);
    store_rowEnds(to + 1u, all.y);
  }
}
@compute @workgroup_size(192)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
  let group = id.y * 65535u + id.x;
  if (group < call.groups) { body(group, lane); }
}

struct Call { dy: u32, weight: u32, dx: u32, y: u32, yMean: u32, yLevel: u32, yVariance: u32, x: u32, mean: u32, variance: u32, gamma: u32, beta: u32, rowEnds: u32, dyStride: u32, dxStride: u32, yStride: u32, xStride: u32, rows: u32, columns: u32, depth: u32, share: u32, rowTiles: u32, columnTiles: u32, groups: u32 }
struct Run { learningRate: f32, seed: u32, step: u32, unused: u32 }
@group(0) @binding(0) var<uniform> call: Call;
@group(0) @binding(1) var<uniform> run: Run;
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read_write> window0: array<f32>;
@group(0) @binding(4) var<storage, read_write> window1: array<f32>;
@group(0) @binding(5) var<storage, read_write> window2: array<f32>;

fn load_dy(i: u32) -> f32 { return window0[call.dy + i]; }
fn load_weight(i: u32) -> f32 { return window1[call.weight + i]; }
fn load_dx(i: u32) -> f32 { return window0[call.dx + i]; }
fn store_dx(i: u32, value: f32) { window0[call.dx + i] = value; }
fn load_y(i: u32) -> f32 { return window0[call.y + i]; }
fn load_yMean(i: u32) -> f32 { return window0[call.yMean + i]; }
fn load_yLevel(i: u32) -> f32 { return window0[call.yLevel + i]; }
fn load_yVariance(i: u32) -> f32 { return window0[call.yVariance + i]; }
fn load_x(i: u32) -> f32 { return window0[call.x + i]; }
fn load_mean(i: u32) -> f32 { return window0[call.mean + i]; }
fn load_variance(i: u32) -> f32 { return window0[call.variance + i]; }
fn load_gamma(i: u32) -> f32 { return window1[call.gamma + i]; }
fn load_beta(i: u32) -> f32 { return window1[call.beta + i]; }
fn store_rowEnds(i: u32, value: f32) { window2[call.rowEnds + i] = value; }

struct Through { mean: f32, level: f32, slope: f32 }
fn through(o: u32) -> Through {
  return Through(load_yMean(o), load_yLevel(o) * 0.000244140625f, 2.0 * load_yVariance(o) * 0.000244140625f);
}
fn upstream(i: u32, y: u32, through: Through) -> f32 { return load_dy(i) + fma(load_y(y) - through.mean, through.slope, through.level); }
struct Depth { o: u32, tap: u32, y: i32, x: i32, through: Through }
fn depth_at(k: u32) -> Depth {
  let o = k / 1u;
  let tap = k % 1u;
  return Depth(o, tap, i32(tap / 1u), i32(tap % 1u), through(o));
}
struct Column { dy: u32, y: u32, top: i32, left: i32 }
fn column_at(column: u32) -> Column {
  let p = column % 64u;
  let image = column / 64u;
  return Column(
    image * call.dyStride,
    image * call.yStride,
    i32(p / 8u) + 0,
    i32(p % 8u) + 0);
}
fn a_at(row: u32, at: Depth) -> f32 { return load_weight((at.o * call.rows + row) * 1u + at.tap); }
fn b_at(at: Depth, column: Column) -> f32 {
  let y = column.top - at.y;
  let x = column.left - at.x;
  if (y < 0 || y >= 8 || x < 0 || x >= 8) { return 0.0; }
  let p = at.o * 64u + u32(y) * 8u + u32(x);
  return upstream(column.dy + p, column.y + p, at.through);
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
fn goBack(value: f32, channel: Channel, x: u32, dx: u32) -> vec2f {
  let at = load_x(x);
  let open = fma(at, channel.scale, channel.shift) > 0.0;
  let g = select(0.0, value, open);
  store_dx(dx, fma(channel.scale, g, load_dx(dx)));
  return vec2f(g, g * ((at - channel.mean) * channel.rstd));
}
struct Row { plane: u32, channel: Channel }
fn row_at(row: u32) -> Row { return Row(row * 64u, channel_at(row)); }
fn finish(row: Row, column: u32, value: f32) -> vec2f {
  let p = column % 64u;
  let image = column / 64u;
  return goBack(value, row.channel, image * call.xStride + row.plane + p, image * call.dxStride + row.plane + p);
}
var<workgroup> memory: array<vec4f, 720>;

fn rowEnd(row: u32, across: u32) -> vec2f {
  let four = memory[2u * (row / 4u * 16u + across) + row % 4u / 2u];
  return select(four.xy, four.zw, row % 2u == 1u);
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
  let end0 = row_at(min(row + 0u, call.rows - 1u));
  var own0 = vec2f(0.0);
  let end1 = row_at(min(row + 1u, call.rows - 1u));
  var own1 = vec2f(0.0);
  let end2 = row_at(min(row + 2u, call.rows - 1u));
  var own2 = vec2f(0.0);
  let end3 = row_at(min(row + 3u, call.rows - 1u));
  var own3 = vec2f(0.0);
  {
    let column = firstColumn + across + 0u;
    if (column < call.columns) {
      if (row + 0u < call.rows) { own0 += finish(end0, column, sum0[0]); }
      if (row + 1u < call.rows) { own1 += finish(end1, column, sum0[1]); }
      if (row + 2u < call.rows) { own2 += finish(end2, column, sum0[2]); }
      if (row + 3u < call.rows) { own3 += finish(end3, column, sum0[3]); }
    }
  }
  {
    let column = firstColumn + across + 16u;
    if (column < call.columns) {
      if (row + 0u < call.rows) { own0 += finish(end0, column, sum1[0]); }
      if (row + 1u < call.rows) { own1 += finish(end1, column, sum1[1]); }
      if (row + 2u < call.rows) { own2 += finish(end2, column, sum1[2]); }
      if (row + 3u < call.rows) { own3 += finish(end3, column, sum1[3]); }
    }
  }
  {
    let column = firstColumn + across + 32u;
    if (column < call.columns) {
      if (row + 0u < call.rows) { own0 += finish(end0, column, sum2[0]); }
      if (row + 1u < call.rows) { own1 += finish(end1, column, sum2[1]); }
      if (row + 2u < call.rows) { own2 += finish(end2, column, sum2[2]); }
      if (row + 3u < call.rows) { own3 += finish(end3, column, sum2[3]); }
    }
  }
  {
    let column = firstColumn + across + 48u;
    if (column < call.columns) {
      if (row + 0u < call.rows) { own0 += finish(end0, column, sum3[0]); }
      if (row + 1u < call.rows) { own1 += finish(end1, column, sum3[1]); }
      if (row + 2u < call.rows) { own2 += finish(end2, column, sum3[2]); }
      if (row + 3u < call.rows) { own3 += finish(end3, column, sum3[3]); }
    }
  }

  workgroupBarrier();
  memory[2u * lane] = vec4f(own0, own1);
  memory[2u * lane + 1u] = vec4f(own2, own3);
  workgroupBarrier();
  if (lane < 48u && firstRow + lane < call.rows) {
    var all = vec2f(0.0);
    for (var i = 0u; i < 16u; i++) { all += rowEnd(lane, i); }
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

struct Call { x_a: u32, dy_a: u32, y_a: u32, yMean_a: u32, yLevel_a: u32, yVariance_a: u32, mean_a: u32, variance_a: u32, gamma_a: u32, beta_a: u32, parts_a: u32, dy_b: u32, weight_b: u32, dx_b: u32, y_b: u32, yMean_b: u32, yLevel_b: u32, yVariance_b: u32, x_b: u32, mean_b: u32, variance_b: u32, gamma_b: u32, beta_b: u32, rowEnds_b: u32, xStride_a: u32, dyStride_a: u32, yStride_a: u32, rows_a: u32, columns_a: u32, depth_a: u32, share_a: u32, rowTiles_a: u32, columnTiles_a: u32, dyStride_b: u32, dxStride_b: u32, yStride_b: u32, xStride_b: u32, rows_b: u32, columns_b: u32, depth_b: u32, share_b: u32, rowTiles_b: u32, columnTiles_b: u32, groups_a: u32, groups: u32 }
struct Run { learningRate: f32, seed: u32, step: u32, firstCorrection: f32, secondCorrection: f32 }
@group(0) @binding(0) var<uniform> call: Call;
@group(0) @binding(1) var<uniform> run: Run;
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read_write> window0: array<f32>;
@group(0) @binding(4) var<storage, read_write> window1: array<f32>;
@group(0) @binding(5) var<storage, read_write> window2: array<f32>;

fn load_x_a(i: u32) -> f32 { return window0[call.x_a + i]; }
fn load_dy_a(i: u32) -> f32 { return window0[call.dy_a + i]; }
fn load_y_a(i: u32) -> f32 { return window0[call.y_a + i]; }
fn load_yMean_a(i: u32) -> f32 { return window0[call.yMean_a + i]; }
fn load_yLevel_a(i: u32) -> f32 { return window0[call.yLevel_a + i]; }
fn load_yVariance_a(i: u32) -> f32 { return window0[call.yVariance_a + i]; }
fn load_mean_a(i: u32) -> f32 { return window0[call.mean_a + i]; }
fn load_variance_a(i: u32) -> f32 { return window0[call.variance_a + i]; }
fn load_gamma_a(i: u32) -> f32 { return window1[call.gamma_a + i]; }
fn load_beta_a(i: u32) -> f32 { return window1[call.beta_a + i]; }
fn store_parts_a(i: u32, value: f32) { window2[call.parts_a + i] = value; }
fn load_dy_b(i: u32) -> f32 { return window0[call.dy_b + i]; }
fn load_weight_b(i: u32) -> f32 { return window1[call.weight_b + i]; }
fn load_dx_b(i: u32) -> f32 { return window0[call.dx_b + i]; }
fn store_dx_b(i: u32, value: f32) { window0[call.dx_b + i] = value; }
fn load_y_b(i: u32) -> f32 { return window0[call.y_b + i]; }
fn load_yMean_b(i: u32) -> f32 { return window0[call.yMean_b + i]; }
fn load_yLevel_b(i: u32) -> f32 { return window0[call.yLevel_b + i]; }
fn load_yVariance_b(i: u32) -> f32 { return window0[call.yVariance_b + i]; }
fn load_x_b(i: u32) -> f32 { return window0[call.x_b + i]; }
fn load_mean_b(i: u32) -> f32 { return window0[call.mean_b + i]; }
fn load_variance_b(i: u32) -> f32 { return window0[call.variance_b + i]; }
fn load_gamma_b(i: u32) -> f32 { return window1[call.gamma_b + i]; }
fn load_beta_b(i: u32) -> f32 { return window1[call.beta_b + i]; }
fn store_rowEnds_b(i: u32, value: f32) { window2[call.rowEnds_b + i] = value; }
var<workgroup> memory: array<vec4f, 720>;

struct Channel_a { scale: f32, shift: f32, mean: f32, rstd: f32 }
fn channel_at_a(c: u32) -> Channel_a {
  let spread = load_variance_a(c) + 0.000009999999747378752f;
  let root = inverseSqrt(spread);
  let rstd = root * fma(-0.5 * spread * root, root, 1.5);
  let scale = load_gamma_a(c) * rstd;
  return Channel_a(scale, fma(-load_mean_a(c), scale, load_beta_a(c)), load_mean_a(c), rstd);
}
fn activate_a(value: f32, channel: Channel_a) -> f32 {
  let pre = fma(value, channel.scale, channel.shift);
  return select(pre, 0.0, pre < 0.0);
}
fn sample_a(plane: u32, y: i32, x: i32, channel: Channel_a) -> f32 {
  return activate_a(load_x_a(plane + u32(y) * 8u + u32(x)), channel);
}

struct Through_a { mean: f32, level: f32, slope: f32 }
fn through_a(o: u32) -> Through_a {
  return Through_a(load_yMean_a(o), load_yLevel_a(o) * 0.000244140625f, 2.0 * load_yVariance_a(o) * 0.000244140625f);
}
fn upstream_a(i: u32, y: u32, through_a: Through_a) -> f32 { return load_dy_a(i) + fma(load_y_a(y) - through_a.mean, through_a.slope, through_a.level); }
struct Depth_a { image: u32, p: u32, y: i32, x: i32 }
fn depth_at_a(k: u32) -> Depth_a {
  let p = k % 64u;
  return Depth_a(k / 64u, p, i32(p / 8u) * 1, i32(p % 8u) * 1);
}
struct Column_a { plane: u32, y: i32, x: i32, channel: Channel_a }
fn column_at_a(column: u32) -> Column_a {
  let c = column / 1u;
  let tap = column % 1u;
  return Column_a(c * 64u, i32(tap / 1u) - 0, i32(tap % 1u) - 0, channel_at_a(c));
}
fn a_at_a(row: u32, at: Depth_a) -> f32 {
  let p = row * 64u + at.p;
  return upstream_a(at.image * call.dyStride_a + p, at.image * call.yStride_a + p, through_a(row));
}
fn b_at_a(at: Depth_a, column: Column_a) -> f32 {
  return sample_a(at.image * call.xStride_a + column.plane, at.y + column.y, at.x + column.x, column.channel);
}
fn finish_a(row: u32, column: u32, value: f32, split: u32) {
  store_parts_a((split * call.rows_a + row) * call.columns_a + column, value);
}


fn body_a(group: u32, lane: u32) {
  let tile = group % (call.rowTiles_a * call.columnTiles_a);
  let split = group / (call.rowTiles_a * call.columnTiles_a);
  let firstRow = (tile % call.rowTiles_a) * 48u;
  let firstColumn = (tile / call.rowTiles_a) * 64u;
  let down = lane / 16u;
  let across = lane % 16u;
  let row = firstRow + 4u * down;
  let begin = split * call.share_a;
  let end = min(begin + call.share_a, call.depth_a);
  var sum0 = vec4f(0.0);
  var sum1 = vec4f(0.0);
  var sum2 = vec4f(0.0);
  var sum3 = vec4f(0.0);
  let staged = lane / 12u;
  let column0 = column_at_a(min(firstColumn + staged + 0u, call.columns_a - 1u));
  let column1 = column_at_a(min(firstColumn + staged + 16u, call.columns_a - 1u));
  let column2 = column_at_a(min(firstColumn + staged + 32u, call.columns_a - 1u));
  let column3 = column_at_a(min(firstColumn + staged + 48u, call.columns_a - 1u));
  for (var first = begin; first < end; first += 24u) {
    workgroupBarrier();
    for (var e = lane; e < 288u; e += 192u) {
      let k = e % 24u;
      let four = e / 24u;
      let row = firstRow + 4u * four;
      var value = vec4f(0.0);
      if (first + k < end) {
        let at = depth_at_a(first + k);
        value = vec4f(a_at_a(min(row + 0u, call.rows_a - 1u), at), a_at_a(min(row + 1u, call.rows_a - 1u), at), a_at_a(min(row + 2u, call.rows_a - 1u), at), a_at_a(min(row + 3u, call.rows_a - 1u), at));
      }
      memory[k * 13u + four] = value;
    }
    for (var k = lane % 12u; k < 24u; k += 12u) {
      var value = vec4f(0.0);
      if (first + k < end) {
        let at = depth_at_a(first + k);
        value = vec4f(b_at_a(at, column0), b_at_a(at, column1), b_at_a(at, column2), b_at_a(at, column3));
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
    if (column < call.columns_a) {
      if (row + 0u < call.rows_a) { finish_a(row + 0u, column, sum0[0], split); }
      if (row + 1u < call.rows_a) { finish_a(row + 1u, column, sum0[1], split); }
      if (row + 2u < call.rows_a) { finish_a(row + 2u, column, sum0[2], split); }
      if (row + 3u < call.rows_a) { finish_a(row + 3u, column, sum0[3], split); }
    }
  }
  {
    let column = firstColumn + across + 16u;
    if (column < call.columns_a) {
      if (row + 0u < call.rows_a) { finish_a(row + 0u, column, sum1[0], split); }
      if (row + 1u < call.rows_a) { finish_a(row + 1u, column, sum1[1], split); }
      if (row + 2u < call.rows_a) { finish_a(row + 2u, column, sum1[2], split); }
      if (row + 3u < call.rows_a) { finish_a(row + 3u, column, sum1[3], split); }
    }
  }
  {
    let column = firstColumn + across + 32u;
    if (column < call.columns_a) {
      if (row + 0u < call.rows_a) { finish_a(row + 0u, column, sum2[0], split); }
      if (row + 1u < call.rows_a) { finish_a(row + 1u, column, sum2[1], split); }
      if (row + 2u < call.rows_a) { finish_a(row + 2u, column, sum2[2], split); }
      if (row + 3u < call.rows_a) { finish_a(row + 3u, column, sum2[3], split); }
    }
  }
  {
    let column = firstColumn + across + 48u;
    if (column < call.columns_a) {
      if (row + 0u < call.rows_a) { finish_a(row + 0u, column, sum3[0], split); }
      if (row + 1u < call.rows_a) { finish_a(row + 1u, column, sum3[1], split); }
      if (row + 2u < call.rows_a) { finish_a(row + 2u, column, sum3[2], split); }
      if (row + 3u < call.rows_a) { finish_a(row + 3u, column, sum3[3], split); }
    }
  }


}

struct Through_b { mean: f32, level: f32, slope: f32 }
fn through_b(o: u32) -> Through_b {
  return Through_b(load_yMean_b(o), load_yLevel_b(o) * 0.000244140625f, 2.0 * load_yVariance_b(o) * 0.000244140625f);
}
fn upstream_b(i: u32, y: u32, through_b: Through_b) -> f32 { return load_dy_b(i) + fma(load_y_b(y) - through_b.mean, through_b.slope, through_b.level); }
struct Depth_b { o: u32, tap: u32, y: i32, x: i32, through_b: Through_b }
fn depth_at_b(k: u32) -> Depth_b {
  let o = k / 1u;
  let tap = k % 1u;
  return Depth_b(o, tap, i32(tap / 1u), i32(tap % 1u), through_b(o));
}
struct Column_b { dy: u32, y: u32, top: i32, left: i32 }
fn column_at_b(column: u32) -> Column_b {
  let p = column % 64u;
  let image = column / 64u;
  return Column_b(
    image * call.dyStride_b,
    image * call.yStride_b,
    i32(p / 8u) + 0,
    i32(p % 8u) + 0);
}
fn a_at_b(row: u32, at: Depth_b) -> f32 { return load_weight_b((at.o * call.rows_b + row) * 1u + at.tap); }
fn b_at_b(at: Depth_b, column: Column_b) -> f32 {
  let y = column.top - at.y;
  let x = column.left - at.x;
  if (y < 0 || y >= 8 || x < 0 || x >= 8) { return 0.0; }
  let p = at.o * 64u + u32(y) * 8u + u32(x);
  return upstream_b(column.dy + p, column.y + p, at.through_b);
}

struct Channel_b { scale: f32, shift: f32, mean: f32, rstd: f32 }
fn channel_at_b(c: u32) -> Channel_b {
  let spread = load_variance_b(c) + 0.000009999999747378752f;
  let root = inverseSqrt(spread);
  let rstd = root * fma(-0.5 * spread * root, root, 1.5);
  let scale = load_gamma_b(c) * rstd;
  return Channel_b(scale, fma(-load_mean_b(c), scale, load_beta_b(c)), load_mean_b(c), rstd);
}
fn activate_b(value: f32, channel: Channel_b) -> f32 {
  let pre = fma(value, channel.scale, channel.shift);
  return select(pre, 0.0, pre < 0.0);
}
fn compositeBackward_b(value: f32, channel: Channel_b, x: u32, dx: u32) -> vec2f {
  let at = load_x_b(x);
  let open = fma(at, channel.scale, channel.shift) > 0.0;
  let g = select(0.0, value, open);
  store_dx_b(dx, fma(channel.scale, g, load_dx_b(dx)));
  return vec2f(g, g * ((at - channel.mean) * channel.rstd));
}
struct Row_b { plane: u32, channel: Channel_b }
fn row_at_b(row: u32) -> Row_b { return Row_b(row * 64u, channel_at_b(row)); }
fn finish_b(row: Row_b, column: u32, value: f32) -> vec2f {
  let p = column % 64u;
  let image = column / 64u;
  return compositeBackward_b(value, row.channel, image * call.xStride_b + row.plane + p, image * call.dxStride_b + row.plane + p);
}


fn rowEnd_b(row: u32, across: u32) -> vec2f {
  let four = memory[2u * (row / 4u * 16u + across) + row % 4u / 2u];
  return select(four.xy, four.zw, row % 2u == 1u);
}
fn body_b(group: u32, lane: u32) {
  let tile = group % (call.rowTiles_b * call.columnTiles_b);
  let split = group / (call.rowTiles_b * call.columnTiles_b);
  let firstRow = (tile % call.rowTiles_b) * 48u;
  let firstColumn = (tile / call.rowTiles_b) * 64u;
  let down = lane / 16u;
  let across = lane % 16u;
  let row = firstRow + 4u * down;
  let begin = split * call.share_b;
  let end = min(begin + call.share_b, call.depth_b);
  var sum0 = vec4f(0.0);
  var sum1 = vec4f(0.0);
  var sum2 = vec4f(0.0);
  var sum3 = vec4f(0.0);
  let staged = lane % 16u;
  let column0 = column_at_b(min(firstColumn + staged + 0u, call.columns_b - 1u));
  let column1 = column_at_b(min(firstColumn + staged + 16u, call.columns_b - 1u));
  let column2 = column_at_b(min(firstColumn + staged + 32u, call.columns_b - 1u));
  let column3 = column_at_b(min(firstColumn + staged + 48u, call.columns_b - 1u));
  for (var first = begin; first < end; first += 24u) {
    workgroupBarrier();
    for (var e = lane; e < 288u; e += 192u) {
      let k = e % 24u;
      let four = e / 24u;
      let row = firstRow + 4u * four;
      var value = vec4f(0.0);
      if (first + k < end) {
        let at = depth_at_b(first + k);
        value = vec4f(a_at_b(min(row + 0u, call.rows_b - 1u), at), a_at_b(min(row + 1u, call.rows_b - 1u), at), a_at_b(min(row + 2u, call.rows_b - 1u), at), a_at_b(min(row + 3u, call.rows_b - 1u), at));
      }
      memory[k * 13u + four] = value;
    }
    for (var k = lane / 16u; k < 24u; k += 12u) {
      var value = vec4f(0.0);
      if (first + k < end) {
        let at = depth_at_b(first + k);
        value = vec4f(b_at_b(at, column0), b_at_b(at, column1), b_at_b(at, column2), b_at_b(at, column3));
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
  let end0 = row_at_b(min(row + 0u, call.rows_b - 1u));
  var own0 = vec2f(0.0);
  let end1 = row_at_b(min(row + 1u, call.rows_b - 1u));
  var own1 = vec2f(0.0);
  let end2 = row_at_b(min(row + 2u, call.rows_b - 1u));
  var own2 = vec2f(0.0);
  let end3 = row_at_b(min(row + 3u, call.rows_b - 1u));
  var own3 = vec2f(0.0);
  {
    let column = firstColumn + across + 0u;
    if (column < call.columns_b) {
      if (row + 0u < call.rows_b) { own0 += finish_b(end0, column, sum0[0]); }
      if (row + 1u < call.rows_b) { own1 += finish_b(end1, column, sum0[1]); }
      if (row + 2u < call.rows_b) { own2 += finish_b(end2, column, sum0[2]); }
      if (row + 3u < call.rows_b) { own3 += finish_b(end3, column, sum0[3]); }
    }
  }
  {
    let column = firstColumn + across + 16u;
    if (column < call.columns_b) {
      if (row + 0u < call.rows_b) { own0 += finish_b(end0, column, sum1[0]); }
      if (row + 1u < call.rows_b) { own1 += finish_b(end1, column, sum1[1]); }
      if (row + 2u < call.rows_b) { own2 += finish_b(end2, column, sum1[2]); }
      if (row + 3u < call.rows_b) { own3 += finish_b(end3, column, sum1[3]); }
    }
  }
  {
    let column = firstColumn + across + 32u;
    if (column < call.columns_b) {
      if (row + 0u < call.rows_b) { own0 += finish_b(end0, column, sum2[0]); }
      if (row + 1u < call.rows_b) { own1 += finish_b(end1, column, sum2[1]); }
      if (row + 2u < call.rows_b) { own2 += finish_b(end2, column, sum2[2]); }
      if (row + 3u < call.rows_b) { own3 += finish_b(end3, column, sum2[3]); }
    }
  }
  {
    let column = firstColumn + across + 48u;
    if (column < call.columns_b) {
      if (row + 0u < call.rows_b) { own0 += finish_b(end0, column, sum3[0]); }
      if (row + 1u < call.rows_b) { own1 += finish_b(end1, column, sum3[1]); }
      if (row + 2u < call.rows_b) { own2 += finish_b(end2, column, sum3[2]); }
      if (row + 3u < call.rows_b) { own3 += finish_b(end3, column, sum3[3]); }
    }
  }

  workgroupBarrier();
  memory[2u * lane] = vec4f(own0, own1);
  memory[2u * lane + 1u] = vec4f(own2, own3);
  workgroupBarrier();
  if (lane < 48u && firstRow + lane < call.rows_b) {
    var all = vec2f(0.0);
    for (var i = 0u; i < 16u; i++) { all += rowEnd_b(lane, i); }
    let to = 2u * ((firstRow + lane) * call.columnTiles_b + tile / call.rowTiles_b);
    store_rowEnds_b(to, all.x);
    store_rowEnds_b(to + 1u, all.y);
  }
}
fn body(group: u32, lane: u32) {
  if (group < call.groups_a) { body_a(group, lane); } else { body_b(group - call.groups_a, lane); }
}
@compute @workgroup_size(192)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
  let group = id.y * 65535u + id.x;
  if (group < call.groups) { body(group, lane); }
}

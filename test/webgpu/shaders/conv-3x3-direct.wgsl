struct Call { x: u32, weight: u32, y: u32, xStride: u32, yStride: u32, rows: u32, columns: u32, depth: u32, share: u32, rowTiles: u32, columnTiles: u32, groups: u32 }
struct Run { learningRate: f32, seed: u32, step: u32, unused: u32 }
@group(0) @binding(0) var<uniform> call: Call;
@group(0) @binding(1) var<uniform> run: Run;
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read_write> window0: array<f32>;
@group(0) @binding(4) var<storage, read_write> window1: array<f32>;

fn load_x(i: u32) -> f32 { return window0[call.x + i]; }
fn load_weight(i: u32) -> f32 { return window1[call.weight + i]; }
fn store_y(i: u32, value: f32) { window0[call.y + i] = value; }

fn sample(base: u32, c: u32, y: i32, x: i32) -> f32 {
  if (y < 0 || y >= 32 || x < 0 || x >= 32) { return 0.0; }
  return load_x(base + c * 1024u + u32(y) * 32u + u32(x));
}
struct Column { base: u32, y: i32, x: i32 }
fn column_at(column: u32) -> Column {
  let p = column % 1024u;
  return Column(
    (column / 1024u) * call.xStride,
    i32(p / 32u) * 1 - 1,
    i32(p % 32u) * 1 - 1);
}
fn a_at(row: u32, k: u32) -> f32 { return load_weight(row * call.depth + k); }
fn b_at(k: u32, column: Column) -> f32 {
  let tap = k % 9u;
  return sample(column.base, k / 9u, column.y + i32(tap / 3u), column.x + i32(tap % 3u));
}
fn finish(row: u32, column: u32, value: f32) {
  store_y((column / 1024u) * call.yStride + row * 1024u + column % 1024u, value);
}

fn body(group: u32, lane: u32) {
  let tile = group % (call.rowTiles * call.columnTiles);
  let split = group / (call.rowTiles * call.columnTiles);
  let firstRow = (tile % call.rowTiles) * 16u;
  let firstColumn = (tile / call.rowTiles) * 64u;
  let down = lane / 16u;
  let across = lane % 16u;
  let begin = split * call.share;
  let end = min(begin + call.share, call.depth);
  var sum0 = vec4f(0.0);
  var sum1 = vec4f(0.0);
  var sum2 = vec4f(0.0);
  var sum3 = vec4f(0.0);

  let row = firstRow + 4u * down;
  let row0 = min(row + 0u, call.rows - 1u);
  let row1 = min(row + 1u, call.rows - 1u);
  let row2 = min(row + 2u, call.rows - 1u);
  let row3 = min(row + 3u, call.rows - 1u);
  let column0 = column_at(min(firstColumn + across + 0u, call.columns - 1u));
  let column1 = column_at(min(firstColumn + across + 16u, call.columns - 1u));
  let column2 = column_at(min(firstColumn + across + 32u, call.columns - 1u));
  let column3 = column_at(min(firstColumn + across + 48u, call.columns - 1u));
  for (var k = begin; k < end; k++) {
    let rows = vec4f(a_at(row0, k), a_at(row1, k), a_at(row2, k), a_at(row3, k));
    sum0 = fma(rows, vec4f(b_at(k, column0)), sum0);
    sum1 = fma(rows, vec4f(b_at(k, column1)), sum1);
    sum2 = fma(rows, vec4f(b_at(k, column2)), sum2);
    sum3 = fma(rows, vec4f(b_at(k, column3)), sum3);
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
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
  let group = id.y * 65535u + id.x;
  if (group < call.groups) { body(group, lane); }
}

struct Call { x: u32, weight: u32, y: u32, coefficients: u32, xStride: u32, yStride: u32, rows: u32, columns: u32, depth: u32, share: u32, rowTiles: u32, columnTiles: u32, groups: u32 }
struct Run { learningRate: f32, seed: u32, step: u32, unused: u32 }
@group(0) @binding(0) var<uniform> call: Call;
@group(0) @binding(1) var<uniform> run: Run;
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read_write> window0: array<f32>;
@group(0) @binding(4) var<storage, read_write> window1: array<f32>;
@group(0) @binding(5) var<storage, read_write> window2: array<f32>;

fn load_x(i: u32) -> f32 { return window0[call.x + i]; }
fn load_weight(i: u32) -> f32 { return window1[call.weight + i]; }
fn store_y(i: u32, value: f32) { window0[call.y + i] = value; }
fn load_coefficients(i: u32) -> f32 { return window2[call.coefficients + i]; }

fn activate(value: f32, c: u32) -> f32 {
  let pre = fma(value, load_coefficients(4u * c), load_coefficients(4u * c + 1u));
  return select(pre, 0.0, pre < 0.0);
}
fn sample(base: u32, c: u32, y: i32, x: i32) -> f32 { return activate(load_x(base + c * 1024u + u32(y) * 32u + u32(x)), c); }
struct Column { base: u32, y: i32, x: i32 }
fn column_at(column: u32) -> Column {
  let p = column % 1024u;
  return Column(
    (column / 1024u) * call.xStride,
    i32(p / 32u) * 1 - 0,
    i32(p % 32u) * 1 - 0);
}
fn a_at(row: u32, k: u32) -> f32 { return load_weight(row * call.depth + k); }
fn b_at(k: u32, column: Column) -> f32 {
  let tap = k % 1u;
  return sample(column.base, k / 1u, column.y + i32(tap / 1u), column.x + i32(tap % 1u));
}
fn finish(row: u32, column: u32, value: f32) {
  store_y((column / 1024u) * call.yStride + row * 1024u + column % 1024u, value);
}
var<workgroup> slabA: array<f32, 768>;
var<workgroup> slabB: array<f32, 1024>;
fn body(group: u32, lane: u32) {
  let tile = group % (call.rowTiles * call.columnTiles);
  let split = group / (call.rowTiles * call.columnTiles);
  let firstRow = (tile % call.rowTiles) * 48u;
  let firstColumn = (tile / call.rowTiles) * 64u;
  let down = lane / 16u;
  let across = lane % 16u;
  let begin = split * call.share;
  let end = min(begin + call.share, call.depth);
  var sum0 = vec4f(0.0);
  var sum1 = vec4f(0.0);
  var sum2 = vec4f(0.0);
  var sum3 = vec4f(0.0);

  for (var first = begin; first < end; first += 16u) {
    workgroupBarrier();
    for (var e = lane; e < 768u; e += 192u) {
      let k = e % 16u;
      var value = 0.0;
      if (first + k < end) { value = a_at(min(firstRow + e / 16u, call.rows - 1u), first + k); }
      slabA[k * 48u + e / 16u] = value;
    }
    let column = column_at(min(firstColumn + lane % 64u, call.columns - 1u));
    for (var k = lane / 64u; k < 16u; k += 3u) {
      var value = 0.0;
      if (first + k < end) { value = b_at(first + k, column); }
      slabB[k * 64u + lane % 64u] = value;
    }
    workgroupBarrier();
    for (var k = 0u; k < 16u; k++) {
      let a = k * 48u + 4u * down;
      let rows = vec4f(slabA[a], slabA[a + 1u], slabA[a + 2u], slabA[a + 3u]);
      let b = k * 64u + across;
      sum0 = fma(rows, vec4f(slabB[b + 0u]), sum0);
      sum1 = fma(rows, vec4f(slabB[b + 16u]), sum1);
      sum2 = fma(rows, vec4f(slabB[b + 32u]), sum2);
      sum3 = fma(rows, vec4f(slabB[b + 48u]), sum3);
    }
  }
  let row = firstRow + 4u * down;

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

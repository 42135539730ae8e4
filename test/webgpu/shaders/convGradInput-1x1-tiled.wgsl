struct Call { dy: u32, weight: u32, dx: u32, x: u32, coefficients: u32, sums: u32, dyStride: u32, dxStride: u32, xStride: u32, rows: u32, columns: u32, depth: u32, share: u32, rowTiles: u32, columnTiles: u32, groups: u32 }
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
fn load_x(i: u32) -> f32 { return window0[call.x + i]; }
fn load_coefficients(i: u32) -> f32 { return window2[call.coefficients + i]; }
fn store_sums(i: u32, value: f32) { window2[call.sums + i] = value; }
fn upstream(i: u32, y: u32, o: u32) -> f32 { return load_dy(i); }
struct Column { dy: u32, y: u32, top: i32, left: i32 }
fn column_at(column: u32) -> Column {
  let p = column % 64u;
  let image = column / 64u;
  return Column(
    image * call.dyStride,
    0u,
    i32(p / 8u) + 0,
    i32(p % 8u) + 0);
}
fn a_at(row: u32, k: u32) -> f32 { return load_weight((k / 1u * call.rows + row) * 1u + k % 1u); }
fn b_at(k: u32, column: Column) -> f32 {
  let o = k / 1u;
  let tap = k % 1u;
  let y = column.top - i32(tap / 1u);
  let x = column.left - i32(tap % 1u);
  if (y < 0 || y >= 8 || x < 0 || x >= 8) { return 0.0; }
  let at = o * 64u + u32(y) * 8u + u32(x);
  return upstream(column.dy + at, column.y + at, o);
}

fn goBack(value: f32, c: u32, x: u32, dx: u32) -> vec2f {
  let scale = load_coefficients(4u * c);
  let at = load_x(x);
  let open = fma(at, scale, load_coefficients(4u * c + 1u)) > 0.0;
  let g = select(0.0, value, open);
  store_dx(dx, fma(scale, g, load_dx(dx)));
  return vec2f(g, g * ((at - load_coefficients(4u * c + 2u)) * load_coefficients(4u * c + 3u)));
}
fn finish(row: u32, column: u32, value: f32) -> vec2f {
  let p = column % 64u;
  let image = column / 64u;
  let at = row * 64u + p;
  return goBack(value, row, image * call.xStride + at, image * call.dxStride + at);
}
var<workgroup> slabA: array<f32, 768>;
var<workgroup> slabB: array<f32, 1024>;
var<workgroup> rowSums: array<vec2f, 768>;
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
  var own0 = vec2f(0.0);
  var own1 = vec2f(0.0);
  var own2 = vec2f(0.0);
  var own3 = vec2f(0.0);
  {
    let column = firstColumn + across + 0u;
    if (column < call.columns) {
      if (row + 0u < call.rows) { own0 += finish(row + 0u, column, sum0[0]); }
      if (row + 1u < call.rows) { own1 += finish(row + 1u, column, sum0[1]); }
      if (row + 2u < call.rows) { own2 += finish(row + 2u, column, sum0[2]); }
      if (row + 3u < call.rows) { own3 += finish(row + 3u, column, sum0[3]); }
    }
  }
  {
    let column = firstColumn + across + 16u;
    if (column < call.columns) {
      if (row + 0u < call.rows) { own0 += finish(row + 0u, column, sum1[0]); }
      if (row + 1u < call.rows) { own1 += finish(row + 1u, column, sum1[1]); }
      if (row + 2u < call.rows) { own2 += finish(row + 2u, column, sum1[2]); }
      if (row + 3u < call.rows) { own3 += finish(row + 3u, column, sum1[3]); }
    }
  }
  {
    let column = firstColumn + across + 32u;
    if (column < call.columns) {
      if (row + 0u < call.rows) { own0 += finish(row + 0u, column, sum2[0]); }
      if (row + 1u < call.rows) { own1 += finish(row + 1u, column, sum2[1]); }
      if (row + 2u < call.rows) { own2 += finish(row + 2u, column, sum2[2]); }
      if (row + 3u < call.rows) { own3 += finish(row + 3u, column, sum2[3]); }
    }
  }
  {
    let column = firstColumn + across + 48u;
    if (column < call.columns) {
      if (row + 0u < call.rows) { own0 += finish(row + 0u, column, sum3[0]); }
      if (row + 1u < call.rows) { own1 += finish(row + 1u, column, sum3[1]); }
      if (row + 2u < call.rows) { own2 += finish(row + 2u, column, sum3[2]); }
      if (row + 3u < call.rows) { own3 += finish(row + 3u, column, sum3[3]); }
    }
  }
  rowSums[(4u * down + 0u) * 16u + across] = own0;
  rowSums[(4u * down + 1u) * 16u + across] = own1;
  rowSums[(4u * down + 2u) * 16u + across] = own2;
  rowSums[(4u * down + 3u) * 16u + across] = own3;
  workgroupBarrier();
  if (lane < 48u && firstRow + lane < call.rows) {
    var all = rowSums[lane * 16u];
    for (var i = 1u; i < 16u; i++) { all += rowSums[lane * 16u + i]; }
    let to = 2u * ((firstRow + lane) * call.columnTiles + tile / call.rowTiles);
    store_sums(to, all.x);
    store_sums(to + 1u, all.y);
  }
}
@compute @workgroup_size(192)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
  let group = id.y * 65535u + id.x;
  if (group < call.groups) { body(group, lane); }
}

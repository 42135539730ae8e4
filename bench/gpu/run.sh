#!/bin/sh
# On a machine with a GPU and a Vulkan driver: unpacks the archive of pack.sh beside this file, and proves and measures the WebGPU backend.
# Nothing else is needed; where python3 has PyTorch with CUDA, it runs on the same card in turns with ours, and is named as skipped elsewhere.
#
# run.sh conformance                       every kernel, alone and together, PyTorch's fixtures, training
# run.sh roofline [nets and options]       where a step's time goes (npm run bench's options)
# run.sh train [nets and options]          beside PyTorch (npm run bench:peers' options): BC-100-12 and 121, batches 64 and 256
# run.sh infer [nets and options]          the same for inference
# run.sh cifar DATA [SECONDS]              BC-100-12 by the paper's recipe on the CIFAR-10 in folder DATA; stops after SECONDS, goes on when called again
# run.sh all                               conformance, roofline, train, infer
#
# roofline, train and infer run ours with feature maps in f32 and then in f16, the fair opposite of PyTorch's AMP; ACTIVATION_DTYPES=f16 takes the second alone.
# torch.compile takes minutes for one net: where a command may run for ten only, ask for one at a time: ACTIVATION_DTYPES=f16 run.sh train 121 --batch 64 --rounds 2
# Everything is written beside this file, or to ${TMPDIR:-/tmp}/densenet-gpu where that folder is read-only; results to $OUT (default: results there).
# A driver that the Vulkan loader does not find by itself is named in VK_DRIVER_FILES.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$here
[ -w "$here" ] || work=${TMPDIR:-/tmp}/densenet-gpu
out=${OUT:-$work/results}
tree=$work/densenet-gpu
archive=$here/densenet-gpu.tar.xz
part=${1:-all}
[ $# -eq 0 ] || shift

unxz_to() { # file.xz: what it holds, on stdout
  if command -v xz >/dev/null; then xz -dc "$1"; else python3 -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), sys.stdout.buffer)' "$1"; fi
}
# Anew where the archive is another, and where an earlier call was stopped while it unpacked.
sum=$(cksum <"$archive")
if [ "$(cat "$tree/unpacked" 2>/dev/null)" != "$sum" ]; then
  rm -rf "$tree"
  mkdir -p "$work"
  unxz_to "$archive" >"$work/densenet-gpu.tar"
  if command -v tar >/dev/null; then tar -C "$work" -xf "$work/densenet-gpu.tar"; else python3 -m tarfile -e "$work/densenet-gpu.tar" "$work"; fi
  rm "$work/densenet-gpu.tar"
  echo "$sum" >"$tree/unpacked"
fi
mkdir -p "$out"
out=$(cd "$out" && pwd)
from=$PWD
export LD_LIBRARY_PATH="$tree/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" DENSENET_REQUIRE_WEBGPU=1
export TORCHINDUCTOR_FX_GRAPH_CACHE=1 TORCHINDUCTOR_CACHE_DIR="$work/inductor" # a compiled net is compiled once, not once a round
# NVIDIA's driver in a container often comes without the file that tells the loader of it. Listed drivers that do not load are passed over.
if [ -z "${VK_DRIVER_FILES:-}" ] && [ -e /dev/nvidiactl ] &&
  [ -z "$(find /usr/share/vulkan/icd.d /etc/vulkan/icd.d -name 'nvidia*.json' 2>/dev/null)" ]; then
  for library in libGLX_nvidia libEGL_nvidia; do
    echo "{\"file_format_version\": \"1.0.1\", \"ICD\": {\"library_path\": \"$library.so.0\", \"api_version\": \"1.3\"}}" >"$tree/lib/$library.json"
  done
  export VK_DRIVER_FILES="$tree/lib/libGLX_nvidia.json:$tree/lib/libEGL_nvidia.json"
fi
cd "$tree"
node() { "$tree/bin/node" "$@"; }
# Tables to the terminal and the files that --output writes to $OUT, also those of a command that failed later.
measure() {
  status=0
  for dtype in ${ACTIVATION_DTYPES:-f32 f16}; do node "$@" --device webgpu --activation-dtype "$dtype" --output || status=$?; done
  [ ! -d bench/results ] || cp bench/results/* "$out"
  return $status
}

conformance() {
  node --test --test-reporter=spec test/backends/webgpu/*.test.ts test/bench/gate.test.ts >"$out/conformance.txt" 2>&1 || {
    grep -E '✖|^ℹ' "$out/conformance.txt" || tail -n 20 "$out/conformance.txt"
    return 7
  }
  tail -n 8 "$out/conformance.txt"
}
roofline() {
  if [ $# -eq 0 ]; then set -- BC-100-12 121 --batch 64; fi
  measure bench/main.ts "$@" --roofline
}
train() { measure bench/peers.ts --suite --mode train "$@"; }
infer() { measure bench/peers.ts --suite --mode infer "$@"; }
cifar() {
  data=$(cd "$from" && cd "${1:?the folder with the files data_batch_1.bin …, which may be .xz}" && pwd)
  if ls "$data"/*.bin.xz >/dev/null 2>&1; then
    mkdir -p "$work/cifar-10"
    for file in "$data"/*.bin.xz; do
      name=$(basename "$file" .xz)
      [ -e "$work/cifar-10/$name" ] || { unxz_to "$file" >"$work/cifar-10/part" && mv "$work/cifar-10/part" "$work/cifar-10/$name"; }
    done
    cp -f "$data"/*.txt "$work/cifar-10"
    data=$work/cifar-10
  fi
  run=$out/cifar
  [ -e "$run/checkpoints/last.json" ] || rm -rf "$run" # stopped before it saved anything
  if [ -d "$run" ]; then set -- "${2:-540}" --resume "$run"; else set -- "${2:-540}" --preset paper-cifar10-plus --data-dir "$data" --output "$run"; fi
  seconds=$1
  shift
  status=0
  # SIGINT lets the step end and saves; timeout then gives the run's own exit code, 130: more is to come.
  timeout --preserve-status --signal INT "$seconds" "$tree/bin/node" src/cli/main.ts train "$@" --device webgpu || status=$?
  [ "$status" -ne 130 ] || { echo "stopped after $seconds s; the same command goes on"; status=0; }
  return $status
}
case $part in
  conformance | roofline | train | infer | cifar) "$part" "$@" ;;
  all)
    status=0
    for part in conformance roofline train infer; do "$part" || status=$?; done
    exit $status
    ;;
  *) sed -n '2,/^set/s/^# \{0,1\}//p' "$here/run.sh"; exit 2 ;;
esac

#!/bin/sh
# Packs what a bare x86-64 Linux machine with a GPU needs to prove and measure the WebGPU backend: Node, Dawn, the Vulkan loader, our sources
# and the packages that they import. Run here, after `npm test` has set up; carry densenet-gpu.tar.xz and run.sh there.
# Needs Debian (apt-get download libvulkan1), strip and xz.
# Usage: bench/gpu/pack.sh [folder to write to, default bench/gpu]
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
to=$(cd "${1:-$root/bench/gpu}" && pwd)
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
tree=$stage/densenet-gpu
mkdir -p "$tree/bin" "$tree/lib" "$tree/node_modules"

strip -o "$tree/bin/node" "$root/node_modules/node/bin/node"
(cd "$stage" && apt-get -o APT::Sandbox::User=root download -qq libvulkan1 && dpkg-deb -x libvulkan1_*.deb loader)
cp -a "$stage"/loader/usr/lib/x86_64-linux-gnu/libvulkan.so.1* "$tree/lib"

cd "$root"
cp -r package.json src test "$tree"
mkdir -p "$tree/bench" "$tree/scripts/fixtures" # in fixtures: the net that PyTorch runs
cp bench/*.ts "$tree/bench"
mkdir "$tree/bench/peers"
cp bench/peers/*.* "$tree/bench/peers"
cp scripts/fixtures/denseNet.py "$tree/scripts/fixtures"
for package in commander fast-check fflate pure-rand zod sharp detect-libc semver @img/colour @img/sharp-linux-x64 \
  @img/sharp-libvips-linux-x64 webgpu; do
  mkdir -p "$tree/node_modules/$(dirname "$package")"
  cp -r "node_modules/$package" "$tree/node_modules/$package"
done
find "$tree/node_modules/webgpu/dist" -mindepth 1 -maxdepth 1 ! -name linux-x64 -exec rm -r {} +
strip "$tree/node_modules/webgpu/dist/linux-x64/dawn.node"
find "$tree/node_modules" \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.cts' -o -name '*.d.mts' \) -delete

tar -C "$stage" -cf - densenet-gpu | xz -T0 -6 >"$to/densenet-gpu.tar.xz"
ls -l "$to/densenet-gpu.tar.xz"

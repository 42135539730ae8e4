#!/bin/sh
# Installs lavapipe on Debian, the Vulkan driver that computes on the CPU, so that the WebGPU tests run without a GPU. Dawn rejects Mesa
# before 24; where the release has only an older one, the machine's own package source is read once more, for the release's backports.
# After it: VK_DRIVER_FILES=/usr/share/vulkan/icd.d/lvp_icd.json node --test test/backends/webgpu/device.test.ts
set -eu
export DEBIAN_FRONTEND=noninteractive
eval "$(apt-config shell list Dir::Etc::sourcelist/f parts Dir::Etc::sourceparts/d)"
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
backports=
candidate=$(apt-cache policy mesa-vulkan-drivers | awk '$1 == "Candidate:" { print int($2) }')
if [ "${candidate:-0}" -lt 24 ]; then
  backports=$release-backports
  if ! apt-cache madison mesa-vulkan-drivers | grep -q "$backports/"; then
    # A paragraph of a .sources file, or a line of a .list file, that names the release; the copy names its backports.
    awk -v RS= -v release="$release" '
      $0 ~ "(^|\n)Suites:([^\n]* )?" release "[ \n]" { sub(/Suites:[^\n]*/, "Suites: " release "-backports"); print; exit }
    ' /dev/null "$parts"*.sources >"${parts}densenet-backports.sources" 2>/dev/null || true
    if [ ! -s "${parts}densenet-backports.sources" ]; then
      rm -f "${parts}densenet-backports.sources"
      sed -n "s/^\(deb .*\) $release main.*/\1 $release-backports main/p" "$list" "$parts"*.list 2>/dev/null |
        head -n 1 >"${parts}densenet-backports.list"
    fi
    apt-get update -qq
  fi
fi
apt-get install -y -qq --no-install-recommends ${backports:+-t "$backports"} mesa-vulkan-drivers libvulkan1

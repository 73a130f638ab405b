#!/usr/bin/env bash
# Installs the CUDA compiler from PyPI, for wheels that are built where NVIDIA's is not:
#   bash .github/cuda_compiler.sh FOLDER [PYTHON]
# Then CUDACXX=FOLDER/nvcc builds with it. The runtime is linked statically; nothing of this ships.
set -euo pipefail
mkdir -p "$1"
folder=$(cd "$1" && pwd)
"${2:-python3}" -m pip install -q --target "$folder/packages" 'nvidia-cuda-nvcc==13.0.*' \
  'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-cccl==13.0.*' 'nvidia-nvvm==13.0.*' \
  'nvidia-cuda-crt==13.0.*'
toolkit=$folder/packages/nvidia/cu13
[[ -e $toolkit/lib64 ]] || ln -s lib "$toolkit/lib64"
[[ -e $toolkit/lib/libcudart.so ]] || ln -s libcudart.so.13 "$toolkit/lib/libcudart.so"
chmod -R a+x "$toolkit/bin"
# Not a link: nvcc looks for its headers beside the path that it was called by.
printf '#!/bin/sh\nexec "%s/bin/nvcc" "$@"\n' "$toolkit" > "$folder/nvcc"
chmod a+x "$folder/nvcc"
"$folder/nvcc" --version

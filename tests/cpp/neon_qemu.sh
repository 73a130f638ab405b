#!/usr/bin/env bash
# Runs the kernels' C++ tests for aarch64 (scalar, NEON, its dot and matrix products) under
# emulation, and checks that the trees are the native machine's. Needs: g++-aarch64-linux-gnu,
# qemu-user, cmake, a native compiler.
#   bash tests/cpp/neon_qemu.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
options=(-DCMAKE_BUILD_TYPE=Release -DCLAID_PYTHON=OFF -DCLAID_CUDA=OFF -DCLAID_CPP_TESTS=ON
         -DCLAID_WARNINGS_AS_ERRORS=ON)

cmake -S . -B "$build/native" "${options[@]}" > /dev/null
cmake -S . -B "$build/aarch64" "${options[@]}" -DCMAKE_SYSTEM_NAME=Linux \
  -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ > /dev/null
cmake --build "$build/native" --target claid_test --parallel 2 > /dev/null
cmake --build "$build/aarch64" --target claid_test claid_filter_test claid_box_search_test \
  --parallel 2 > /dev/null

native=$("$build/native/claid_test")
emulated=$(qemu-aarch64 -L /usr/aarch64-linux-gnu "$build/aarch64/claid_test")
printf 'native\n%s\naarch64\n%s\n' "$native" "$emulated"
[[ $emulated == *"neon dotprod i8mm"* ]]
[[ $(grep digest <<< "$native") == $(grep digest <<< "$emulated") ]]
qemu-aarch64 -L /usr/aarch64-linux-gnu "$build/aarch64/claid_filter_test"
echo "The trees are the same."

boxes=$(qemu-aarch64 -L /usr/aarch64-linux-gnu "$build/aarch64/claid_box_search_test")
printf 'box search\n%s\n' "$boxes"
[[ $boxes == *"neon dotprod i8mm"* ]]

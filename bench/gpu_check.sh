#!/usr/bin/env bash
# Builds, tests, sanitises and times the CUDA backend on a machine with a GPU; no network.
# Needs: CUDA 12 or later, a C++20 compiler, cmake, ninja, and a Python with torch, timm, pybind11,
# pytest and hypothesis.      bash bench/gpu_check.sh [PYTHON]
set -uo pipefail
cd "$(dirname "$0")/.." || exit
python=${1:-python3}
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
failed=()
step() {
  printf '\n== %s (%ss)\n' "$1" "$SECONDS"
  shift
  "$@" || failed+=("$*")
}
build() {
  cmake -S . -B "$build/cmake" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCLAID_CUDA=ON \
    -DCLAID_CPP_TESTS=ON -DCLAID_WARNINGS_AS_ERRORS=ON -DCMAKE_CUDA_ARCHITECTURES=native \
    -DPython_EXECUTABLE="$("$python" -c 'import sys; print(sys.executable)')" \
    -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" > "$build/configure.log" || {
    cat "$build/configure.log"; return 1; }
  cmake --build "$build/cmake" || return 1
  cp -r python "$build/python" && cp "$build"/cmake/_core*.so "$build/python/claid_ext/"
}
export PYTHONPATH="$build/python"
device_test="$build/cmake/claid_cuda_device_test"
sanitize() {
  command -v compute-sanitizer > /dev/null || { echo "no compute-sanitizer here"; return 1; }
  timeout 60 compute-sanitizer --error-exitcode 1 --tool "$1" "$device_test" "${@:2}"
}

nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
step "Build" build
[[ -x $device_test ]] || exit 1
step "On the host and on the device" ctest --test-dir "$build/cmake" \
  --output-on-failure -E cuda_emulated
step "Full size on the device" timeout 60 "$device_test" full
step "The contract" timeout 150 "$python" -m pytest -q tests/core -p no:cacheprovider
step "Timing" timeout 120 "$python" bench/gpu_timing.py
for tool in memcheck racecheck initcheck synccheck; do step "$tool" sanitize "$tool"; done
step "memcheck, full size" sanitize memcheck full

printf '\n== Done (%ss)\n' "$SECONDS"
if ((${#failed[@]} > 0)); then printf 'FAILED: %s\n' "${failed[@]}"; exit 1; fi
echo "All passed."

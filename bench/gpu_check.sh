#!/usr/bin/env bash
# Builds, tests, sanitises and times the CUDA backend on a machine with a GPU, in at most eight
# minutes, without a network. Whatever can go on after a failure does; what failed is listed last.
# Needs: CUDA 12 or later with compute-sanitizer, a C++20 compiler, cmake, ninja or make, and a
# Python with the packages below.      bash bench/gpu_check.sh [PYTHON]
# Exits with 0 when all passed, 1 when something failed, 2 when something is missing.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
python=${1:-python3}
packages=(numpy torch timm pybind11 pytest hypothesis)
budget=470 # seconds for all of it
export PATH="$PATH:${CUDA_HOME:-/usr/local/cuda}/bin"

missing=()
for program in nvidia-smi nvcc c++ cmake ctest compute-sanitizer timeout "$python"; do
  command -v "$program" > /dev/null || missing+=("$program")
done
generator=Ninja
command -v ninja > /dev/null || generator='Unix Makefiles'
if [[ $generator != Ninja ]] && ! command -v make > /dev/null; then missing+=("ninja or make"); fi
if command -v "$python" > /dev/null; then
  for package in "${packages[@]}"; do
    "$python" -c "import importlib.util as u, sys; sys.exit(u.find_spec('$package') is None)" ||
      missing+=("the Python package $package (of $python)")
  done
fi
if ((${#missing[@]} > 0)); then printf 'Missing: %s\n' "${missing[@]}" >&2; exit 2; fi

build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
failed=()
# step NAME SECONDS COMMAND...: at most so long, and no longer than the whole may take.
step() {
  local name=$1 most=$2 status
  shift 2
  local left=$((budget - SECONDS))
  printf '\n== %s (%ss)\n' "$name" "$SECONDS"
  if ((left <= 0)); then failed+=("$name: no time was left"); return 1; fi
  timeout "$((most < left ? most : left))" "$@"
  status=$?
  ((status == 0)) && return
  if ((status == 124)); then failed+=("$name: took too long"); else
    failed+=("$name: exit status $status"); fi
  return 1
}
sanitize() { step "$1, $2" "$3" compute-sanitizer --error-exitcode 1 --tool "$1" "$device_test" "$2"; }

device_test="$build/cmake/claid_cuda_device_test"
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
step "Configure" 60 cmake -S . -B "$build/cmake" -G "$generator" -DCMAKE_BUILD_TYPE=Release \
  -DCLAID_CUDA=ON -DCLAID_CPP_TESTS=ON -DCLAID_WARNINGS_AS_ERRORS=ON \
  -DCMAKE_CUDA_ARCHITECTURES=native \
  -DPython_EXECUTABLE="$("$python" -c 'import sys; print(sys.executable)')" \
  -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" &&
  step "Build" 180 cmake --build "$build/cmake" --parallel "$(nproc)" \
    --target _core claid_test claid_cuda_tree_test claid_cuda_steps_test claid_cuda_device_test
if [[ -x $device_test ]]; then
  cp -r python "$build/python" && cp "$build"/cmake/_core*.so "$build/python/claid_ext/"
  export PYTHONPATH="$build/python"
  step "On the host and on the device" 60 ctest --test-dir "$build/cmake" --output-on-failure \
    -E cuda_emul
  step "Full size on the device" 60 "$device_test" full
  step "The contract" 150 "$python" -m pytest -q tests/core -p no:cacheprovider
  for tool in memcheck racecheck initcheck synccheck; do sanitize "$tool" small 60; done
  for tool in memcheck racecheck initcheck; do sanitize "$tool" image 60; done
  step "Timing" 120 "$python" bench/gpu_timing.py
else
  failed+=("there is no $(basename "$device_test") to run")
fi

printf '\n== Done (%ss)\n' "$SECONDS"
if ((${#failed[@]} > 0)); then printf 'FAILED: %s\n' "${failed[@]}"; exit 1; fi
echo "All passed."

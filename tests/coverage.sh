#!/usr/bin/env bash
# Which lines the tests run; fails under 95 %:
#   tests/coverage.sh python [arguments of pytest]   claid_ext, by all tests
#   tests/coverage.sh cpp [arguments of pytest]      csrc/claid, by ctest and the core's tests
# python: in an environment with claid_ext, what its tests need, and coverage. cpp: with the extra
# [test], cmake, ninja, pybind11 and gcovr. Names the lines that are not run.
set -euo pipefail
cd "$(dirname "$0")/.."
source tests/instrumented.sh
what=${1:?python or cpp}
shift
least=95
build=$PWD/build/coverage-$what
mkdir -p "$build"
case $what in
  python)
    rm -f "$build"/data*
    export COVERAGE_FILE=$build/data
    python -m coverage run -m pytest -q -p no:cacheprovider "$@"
    python -m coverage combine -q
    python -m coverage report --skip-covered --show-missing --fail-under=$least
    ;;
  cpp)
    # Not the emulated CUDA: it runs csrc/cuda, and its fibers have no room for counting.
    TARGETS='_core claid_test claid_filter_test claid_box_search_test'
    # Several threads count the same lines.
    instrumented "$build" -DCMAKE_BUILD_TYPE=Debug -DCLAID_CPP_TESTS=ON \
      "-DCMAKE_CXX_FLAGS=-O1 --coverage -fprofile-update=atomic"
    find "$build" -name '*.gcda' -delete
    ctest --test-dir "$build" --output-on-failure -R '^(kernels|filter|box_search)$'
    tests=("$@")
    ((${#tests[@]})) || tests=(tests/core)
    OMP_NUM_THREADS=1 python -m pytest -q -p no:cacheprovider "${tests[@]}"
    # Branches that only an exception takes are the compiler's; the inner loops run 2^32 times.
    gcovr -r . --filter 'csrc/claid/' --exclude-throw-branches --txt --print-summary \
      --gcov-suspicious-hits-threshold=0 --fail-under-line $least "$build"
    ;;
  *) echo "no coverage of $what: python or cpp" >&2 && exit 2 ;;
esac

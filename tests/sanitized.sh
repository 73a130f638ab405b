#!/usr/bin/env bash
# The core tests on an extension that is built with sanitizers, in an environment with the extra
# [test], cmake and ninja:
#   tests/sanitized.sh address|thread [arguments of pytest]
# address: AddressSanitizer and UndefinedBehaviorSanitizer. thread: ThreadSanitizer, by the tests of
# threads unless others are named; the interpreter and NumPy are not instrumented.
set -euo pipefail
cd "$(dirname "$0")/.."
source tests/instrumented.sh
kind=${1:?address or thread}
shift
case $kind in
  address) flags=address,undefined library=libasan.so ;;
  thread) flags=thread library=libtsan.so ;;
  *) echo "no sanitizer $kind: address or thread" >&2 && exit 2 ;;
esac
build=$PWD/build/sanitized-$kind
instrumented "$build" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCLAID_SANITIZE="$flags"

tests=("$@")
if ((${#tests[@]} == 0)); then
  tests=(tests/core)
  if [[ $kind == thread ]]; then
    tests=(tests/core/test_threads_fork.py tests/core/test_contract.py tests/core/test_box_search.py)
    tests+=(-k 'not full_size')  # the same threads, on images for which it takes an hour
  fi
fi
# Forked children and killed processes leave no leak report; Python itself leaks on purpose. An
# allocation that is too large must fail as it does without a sanitizer.
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:detect_odr_violation=0
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:report_signal_unsafe=0
export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1  # their own threads are not instrumented
# libstdc++ beside it: exceptions must be seen from the first one on.
LD_PRELOAD="$(g++ -print-file-name=$library) $(g++ -print-file-name=libstdc++.so)" \
  python -m pytest -q -p no:cacheprovider "${tests[@]}"

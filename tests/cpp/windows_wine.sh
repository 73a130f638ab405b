#!/usr/bin/env bash
# Builds the kernels' C++ tests for Windows by clang and MinGW's libraries, runs them under wine,
# and checks that the trees are the native machine's. (The wheels are built by clang-cl, whose
# libraries are not free.) Needs: clang-19 (or CLANGXX), g++-mingw-w64-x86-64-posix, wine64, cmake.
#   bash tests/cpp/windows_wine.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
export WINEPREFIX=$build/wine WINEDEBUG=-all
wine=$(command -v wine64 || command -v wine || echo /usr/lib/wine/wine64)
options=(-DCMAKE_BUILD_TYPE=Release -DCLAID_PYTHON=OFF -DCLAID_CUDA=OFF -DCLAID_CPP_TESTS=ON)

cmake -S . -B "$build/native" "${options[@]}" > /dev/null
# MinGW's libraries were built by GCC: its thread-local storage, and its order of libraries.
cmake -S . -B "$build/windows" "${options[@]}" -DCMAKE_SYSTEM_NAME=Windows \
  -DCMAKE_SYSTEM_PROCESSOR=AMD64 -DCMAKE_CXX_COMPILER="${CLANGXX:-clang++-19}" \
  -DCMAKE_CXX_COMPILER_TARGET=x86_64-w64-mingw32 -DCMAKE_CXX_FLAGS=-femulated-tls \
  "-DCMAKE_CXX_STANDARD_LIBRARIES=-Wl,--whole-archive -lwinpthread -Wl,--no-whole-archive" \
  "-DCMAKE_EXE_LINKER_FLAGS=-static -Wl,--allow-multiple-definition \
-fuse-ld=$(command -v x86_64-w64-mingw32-ld)" > /dev/null
cmake --build "$build/native" --target claid_test --parallel 2 > /dev/null
cmake --build "$build/windows" --target claid_test claid_box_search_test --parallel 2 \
  > /dev/null 2> "$build/linker" || { cat "$build/linker"; exit 1; }

native=$("$build/native/claid_test")
windows=$("$wine" "$build/windows/claid_test.exe" | tr -d '\r')
printf 'native\n%s\nWindows\n%s\n' "$native" "$windows"
[[ $(grep -E 'levels|digest' <<< "$native") == $(grep -E 'levels|digest' <<< "$windows") ]]
echo "The trees are the same."
"$wine" "$build/windows/claid_box_search_test.exe"

# Sourced by sanitized.sh and coverage.sh.

# instrumented BUILD OPTION ...: builds the extension, or the TARGETS, with options of CMake in a
# folder, and puts the package with it into BUILD/site, which comes first on PYTHONPATH from then on.
instrumented() {
  local build=$1
  shift
  mkdir -p "$build"
  cmake -S . -B "$build" -G Ninja -DCLAID_CUDA=OFF "-Dpybind11_DIR=$(python -m pybind11 --cmakedir)" \
    "-DPython_EXECUTABLE=$(command -v python)" "$@" > "$build/configured" 2>&1 ||
    { cat "$build/configured"; return 1; }
  cmake --build "$build" --parallel 2 --target ${TARGETS:-_core}
  rm -rf "$build/site"
  mkdir "$build/site"
  cp -r python/claid_ext "$build/site/"
  rm -f "$build"/site/claid_ext/_core*.so
  cp "$build"/_core*.so "$build/site/claid_ext/"
  export PYTHONPATH=$build/site${PYTHONPATH:+:$PYTHONPATH}
}

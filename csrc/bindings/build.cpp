#include <pybind11/stl.h>

#include <string>
#include <utility>

#include "bindings/register.hpp"
#include "claid/simd/dispatch.hpp"

namespace py = pybind11;

void register_build(py::module_& module) {
    module.def("compiled_simd_levels", &claid::compiled_simd_levels,
               "Every SIMD level in this build, slowest first.");
    module.def("simd_levels", &claid::simd_levels,
               "The compiled levels that this processor can run, slowest first.");
    module.def(
        "simd_level", [] { return std::string(claid::kernels().level); },
        "The level in use; ValueError when CLAID_SIMD names one that cannot run here.");
    module.def("set_simd_level", &claid::use_simd_level, py::arg("level"),
               "Use a level from now on, in every thread; ValueError when it cannot run here.");
    module.def(
        "cuda_available",
        [] { return std::pair<bool, std::string>(false, "this build has no CUDA backend"); },
        "Whether detect can run on a CUDA device and, if not, why.");
}

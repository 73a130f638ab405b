#include <pybind11/stl.h>

#include <string>
#include <utility>

#include "bindings/register.hpp"
#include "claid/simd/dispatch.hpp"
#ifdef CLAID_CUDA
#include "cuda/decompose.hpp"
#endif

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
        [] {
#ifdef CLAID_CUDA
            const claid::cuda::Availability found = claid::cuda::availability();
            return std::pair(found.available, found.reason);
#else
            return std::pair(false, std::string("this build has no CUDA backend"));
#endif
        },
        "Whether detect can run on a CUDA device and, if not, why.");
}

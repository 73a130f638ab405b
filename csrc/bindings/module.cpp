// claid_ext._core: arguments in, arrays out; no arithmetic.
#include "bindings/register.hpp"

PYBIND11_MODULE(_core, module, pybind11::mod_gil_not_used()) {
    module.doc() = "The compiled kernels behind claid_ext.detect and the search for boxes.";
    register_errors(module);
    register_options(module);
    register_detect(module);
    register_box_search(module);
    register_build(module);
#ifdef CLAID_CUDA
    register_detect_cuda(module);
#endif
}

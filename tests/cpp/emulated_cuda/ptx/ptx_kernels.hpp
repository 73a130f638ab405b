// The kernels that translate.py made, by name.
#pragma once

#include <cstddef>

namespace emulated::ptx {

struct Kernel {
    const char* name;
    void (*run)(const void* const* parameters);
};
extern const Kernel kKernels[];
extern const std::size_t kKernelCount;

}  // namespace emulated::ptx

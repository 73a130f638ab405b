// Every call of the CUDA runtime goes through here.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "cuda/decompose.hpp"

namespace claid::cuda {

// Throws CudaError that says what was tried. The error is taken off the runtime's record, so that
// a call that failed leaves nothing behind for the next.
inline void check(cudaError_t result, const char* what) {
    if (result == cudaSuccess) return;
    cudaGetLastError();
    throw CudaError(std::string(what) + ": " + cudaGetErrorString(result));
}

}  // namespace claid::cuda

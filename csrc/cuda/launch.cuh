// Every kernel is launched through here.
#pragma once

#include <cstddef>

#include "cuda/check.hpp"

namespace claid::cuda {

struct LaunchShape {
    dim3 blocks;
    unsigned threads;
    std::size_t dynamic_shared = 0;  // bytes a block
};

template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const LaunchShape& shape,
            cudaStream_t stream, const Arguments&... arguments) {
    cudaLaunchConfig_t config{};
    config.gridDim = shape.blocks;
    config.blockDim = dim3(shape.threads);
    config.dynamicSmemBytes = shape.dynamic_shared;
    config.stream = stream;
    check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name);
}

}  // namespace claid::cuda

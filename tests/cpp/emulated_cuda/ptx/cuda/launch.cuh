// Stands in for csrc/cuda/launch.cuh: launches what nvcc made of the kernel.
#pragma once

#include <algorithm>
#include <cstring>
#include <utility>

#include "cuda/check.hpp"
#include "ptx_kernels.hpp"

namespace claid::cuda {

struct LaunchShape {
    dim3 blocks;
    unsigned threads;
    std::size_t dynamic_shared = 0;
};

template <class... Parameters>
struct PtxCall {
    void (*run_ptx)(const void* const*);
    std::tuple<Parameters...> parameters;

    static void run(void* call) {
        const auto& self = *static_cast<const PtxCall*>(call);
        std::apply(
            [&](const Parameters&... parameters) {
                const void* const places[] = {&parameters...};
                self.run_ptx(places);
            },
            self.parameters);
    }
};

template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const LaunchShape& shape,
            cudaStream_t stream, const Arguments&... arguments) {
    const auto* const found = std::find_if(
        emulated::ptx::kKernels, emulated::ptx::kKernels + emulated::ptx::kKernelCount,
        [name](const emulated::ptx::Kernel& one) { return std::strcmp(one.name, name) == 0; });
    if (found == emulated::ptx::kKernels + emulated::ptx::kKernelCount) throw CudaError(name);
    cudaLaunchConfig_t config{shape.blocks, dim3(shape.threads), shape.dynamic_shared, stream};
    using Call = PtxCall<Parameters...>;
    auto call =
        std::make_shared<Call>(found->run, std::tuple(static_cast<Parameters>(arguments)...));
    check(emulated::enqueue(config, reinterpret_cast<const void*>(kernel), std::move(call),
                            sizeof(Call), Call::run),
          name);
}

}  // namespace claid::cuda

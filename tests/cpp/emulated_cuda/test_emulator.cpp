// The emulated device itself: kernels that are wrong in one way each, and what it says of them.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "check.hpp"
#include "cuda_runtime.h"
#include "device.hpp"
#include "toys.hpp"

namespace claid::test {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSeesAccesses = false;
#else
constexpr bool kSeesAccesses = true;
#endif

struct Outcome {
    std::string error;
    std::vector<unsigned> data;
};

Outcome run(void (*kernel)(unsigned*, unsigned*), bool bring_back) {
    void *data = nullptr, *flag = nullptr;
    CHECK(cudaMallocFromPoolAsync(&data, kToyWords * sizeof(unsigned), nullptr, nullptr) ==
          cudaSuccess);
    CHECK(cudaMallocFromPoolAsync(&flag, 2 * sizeof(unsigned), nullptr, nullptr) == cudaSuccess);
    cudaMemsetAsync(flag, 0, 2 * sizeof(unsigned), nullptr);
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(kToyBlocks);
    config.blockDim = dim3(kToyThreads);
    CHECK(cudaLaunchKernelEx(&config, kernel, static_cast<unsigned*>(data),
                             static_cast<unsigned*>(flag)) == cudaSuccess);
    Outcome outcome;
    cudaError_t result = cudaStreamSynchronize(nullptr);
    if (result == cudaSuccess && bring_back) {
        outcome.data.resize(kToyWords);
        result = cudaMemcpyAsync(outcome.data.data(), data, kToyWords * sizeof(unsigned),
                                 cudaMemcpyDefault, nullptr);
    }
    if (result != cudaSuccess) outcome.error = cudaGetErrorString(result);
    cudaFreeAsync(data, nullptr);
    cudaFreeAsync(flag, nullptr);
    CHECK(emulated::allocated_bytes() == 0);
    return outcome;
}

void test_toys() {
    for (std::size_t i = 0; i < kToyCount; ++i) {
        const Toy& toy = kToys[i];
        if (toy.by_accesses && !kSeesAccesses) continue;
        const std::string error = run(toy.kernel, false).error;
        const bool as_expected =
            toy.found == nullptr ? error.empty() : error.find(toy.found) != std::string::npos;
        if (!as_expected) std::fprintf(stderr, "%s: \"%s\"\n", toy.name, error.c_str());
        CHECK(as_expected);
    }
}

void test_copies() {
    std::vector<unsigned> wanted(kToyWords);
    for (unsigned i = 0; i < kToyWords; ++i) wanted[i] = 3 * i;
    CHECK(run(copy_and_wait, true).data == wanted);
    const Outcome unfinished = run(copy_without_wait, true);
    CHECK(unfinished.error.empty() && unfinished.data != wanted);
}

// What no thread wrote may not come to the host either.
void test_copy_to_host() {
    if (!kSeesAccesses) return;
    for (std::size_t i = 0; i < kToyCount; ++i) {
        if (std::strcmp(kToys[i].name, "released and acquired") != 0) continue;
        const std::string error = run(kToys[i].kernel, true).error;
        CHECK(error == "a copy to the host of what nobody wrote");
    }
}

}  // namespace
}  // namespace claid::test

int main() {
    using namespace claid::test;
    test_toys();
    test_copies();
    test_copy_to_host();
    return summary();
}

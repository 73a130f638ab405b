// Which SIMD levels were compiled, which this processor runs, and which is in use.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "claid/simd/box_kernels.hpp"
#include "claid/simd/kernels.hpp"

namespace claid {

struct SimdLevel {
    const Kernels* kernels;
    const BoxKernels* box_kernels;
};

// Every level in this build, slowest first.
std::vector<std::string> compiled_simd_levels();

// The compiled levels that this processor can run, slowest first.
std::vector<std::string> simd_levels();

// The level in use: the environment's CLAID_SIMD at first use, else the fastest. Throws
// std::invalid_argument when CLAID_SIMD names no level that can run here.
const Kernels& kernels();

// Both tables of kernels of that level.
SimdLevel simd_level();

// Uses a level from now on, in every thread. Throws std::invalid_argument as above.
void use_simd_level(std::string_view level);

}  // namespace claid

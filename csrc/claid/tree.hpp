// Algorithm 1: the hierarchical decomposition of an image's patch features into regions.
#pragma once

#include <cstddef>
#include <span>
#include <stdexcept>
#include <vector>

#include "claid/simd/kernels.hpp"
#include "claid/types.hpp"

namespace claid {

// One image, on up to `threads` threads. Throws NotFiniteError.
RegionTree decompose(const Features& features, const Options& options, const Kernels& simd,
                     std::size_t threads);

// A feature of one image of a batch is NaN or infinite.
struct NotFiniteInBatchError : std::invalid_argument {
    NotFiniteInBatchError(std::size_t image, const std::invalid_argument& error);
};

// Many images; the trees do not depend on the batch nor on the threads.
std::vector<RegionTree> decompose(std::span<const Features> batch, const Options& options,
                                  const Kernels& simd, std::size_t threads);

}  // namespace claid

// Algorithm 1: the hierarchical decomposition of an image's patch features into regions.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "claid/simd/kernels.hpp"
#include "claid/types.hpp"

namespace claid {

// One image, on up to `threads` threads. Throws NotFiniteError, as of image 0.
RegionTree decompose(const Features& features, const Options& options, const Kernels& simd,
                     std::size_t threads);

// Many images; the trees do not depend on the batch nor on the threads. Throws NotFiniteError.
std::vector<RegionTree> decompose(std::span<const Features> batch, const Options& options,
                                  const Kernels& simd, std::size_t threads);

}  // namespace claid

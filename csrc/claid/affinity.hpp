// The affinity matrix (Eq. 5): which pairs of patches are similar.
#pragma once

#include <cstddef>
#include <cstdint>

#include "claid/bit_graph.hpp"
#include "claid/q15.hpp"

namespace claid {

// What the dot product of two linked rows exceeds: floor(tau 32767^2).
std::int32_t affinity_threshold(double tau);

// A_ij = 1 iff i != j and q_i . q_j > affinity_threshold(tau). Half the tiles are computed, the
// other half is their transpose.
BitGraph affinity(const Q15Rows& q15, double tau, const Kernels& simd, std::size_t threads);

}  // namespace claid

// The affinity matrix (Eq. 5): which pairs of patches are similar.
#pragma once

#include "claid/bit_graph.hpp"
#include "claid/q15.hpp"

namespace claid {

// A_ij = 1 iff i != j and q_i . q_j > floor(tau 32767^2). Half the tiles are computed, the other
// half is their transpose.
BitGraph affinity(const Q15Rows& q15, double tau, const Kernels& simd, std::size_t threads);

}  // namespace claid

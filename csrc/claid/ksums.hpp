// k-sums with two clusters (Eq. 1 to 4): moves single patches while the sum of all pairwise
// squared distances inside the clusters falls.
#pragma once

#include <cstdint>

#include "claid/seeds.hpp"

namespace claid {

// Sweeps until one makes no move, or options.max_passes. Returns the number of moves.
//
// Exact, and yet most visits after the first sweep cost one comparison. With
//     gain(i) = own - other = +-((N_1 - N_0) f_i + (F_1 - F_0) - 2 q_i . (D_1 - D_0)),
// a patch m that leaves for i's cluster raises gain(i) by exactly 2 ||q_i - q_m||^2, and one that
// leaves i's cluster lowers it. So a patch seen with gain(i) <= threshold cannot want to move
// before (threshold - gain(i)) / (2 max_m ||q_i - q_m||^2) more patches have arrived beside it.
std::int64_t k_sums(const Node& node, const Q15Rows& q15, const Options& options,
                    const Kernels& simd, Clusters& clusters);

}  // namespace claid

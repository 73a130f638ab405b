// Where a bisection starts: the two seeds and the clusters around them (section III-B).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "claid/bit_graph.hpp"
#include "claid/q15.hpp"
#include "claid/types.hpp"

namespace claid {

// A node S: its patches, ascending, at least two, and their degrees inside S (Eq. 6).
struct Node {
    std::span<const std::uint16_t> patches;
    std::span<const std::uint32_t> degrees;

    [[nodiscard]] std::size_t size() const { return patches.size(); }
};

// The two clusters of a bisection, by position in the node.
struct Clusters {
    std::vector<std::uint8_t> side;  // 0 or 1
    // ||q_i - q_s+||^2 where the start knows it, else empty; bounds what a move can change.
    std::vector<std::int64_t> seed_distance;
};

// The clusters before the first sweep.
void start(const Node& node, const Q15Rows& q15, const BitGraph& graph, const Options& options,
           const Kernels& simd, Clusters& out);

}  // namespace claid

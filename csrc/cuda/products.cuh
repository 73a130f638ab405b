// Dot products of whole rows: looked up where the affinity kernel kept them, else computed.
#pragma once

#include "cuda/node.cuh"

namespace claid::cuda {

// q_p . q_s for every patch p of the node, at index p; s is the patch at position t. The row is
// valid until the next call.
__device__ inline const std::int32_t* product_row(Block& block, const Node& node, std::uint32_t t) {
    const Image& image = node.image;
    const std::uint16_t* patches = node.scratch.patches;
    const std::uint64_t s = patches[t];
    if (image.products != nullptr) return image.products + s * image.padded;

    const auto* one = reinterpret_cast<const Shorts*>(image.rows + s * image.stride);
    block.for_each_team([&](int team) {
        const auto teams = static_cast<std::uint32_t>(block.teams());
        for (auto u = static_cast<std::uint32_t>(team); u < node.size; u += teams) {
            const std::uint64_t p = patches[u];
            const auto* other = reinterpret_cast<const Shorts*>(image.rows + p * image.stride);
            const std::int32_t dot =
                block.team_sum<std::int32_t>(image.stride / 8, [&](std::uint32_t i) {
                    const Shorts a = one[i], b = other[i];
                    std::int32_t sum = 0;
                    for (int k = 0; k < 8; ++k) sum += a.value[k] * b.value[k];
                    return sum;
                });
            block.once([&] { node.scratch.product_row[p] = dot; });
        }
    });
    return node.scratch.product_row;
}

}  // namespace claid::cuda

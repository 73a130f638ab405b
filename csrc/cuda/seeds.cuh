// Where a bisection starts: the two seeds and the clusters around them (section III-B).
#pragma once

#include "claid/visiting_order.hpp"
#include "cuda/products.cuh"

namespace claid::cuda {

// Stands where a sweep's number would, in the key of the random start.
inline constexpr std::uint64_t kRandomStartKey = std::uint64_t{1} << 32;

// Eq. 7 where all degrees are equal: s- is the patch least similar to s+, ties to the lowest.
__device__ inline std::uint32_t least_similar(Block& block, Shared& shared, const Node& node,
                                              std::uint32_t positive) {
    constexpr std::int64_t kOffset = std::int64_t{1} << 31;  // products become unsigned
    const std::int32_t* products = product_row(block, node, positive);
    block.for_each_thread([&](int thread) {
        if (thread == 0) shared.least_similar = ~std::uint64_t{0};
    });
    block.for_each_thread([&](int thread) {
        std::uint64_t least = ~std::uint64_t{0};
        const auto threads = static_cast<std::uint32_t>(block.threads());
        for (auto t = static_cast<std::uint32_t>(thread); t < node.size; t += threads) {
            if (t == positive) continue;
            const std::int64_t product = products[node.scratch.patches[t]];
            const std::uint64_t key = static_cast<std::uint64_t>(product + kOffset) << 16 | t;
            least = key < least ? key : least;
        }
        if (least != ~std::uint64_t{0}) block.least(shared.least_similar, least);
    });
    return static_cast<std::uint32_t>(shared.least_similar & 0xFFFF);
}

// Cluster 1 holds what is closer to s+ than to s-.
__device__ inline void start_by_similarity(Block& block, const Node& node, std::uint32_t positive,
                                           std::uint32_t negative) {
    const Scratch& scratch = node.scratch;
    const auto threads = static_cast<std::uint32_t>(block.threads());
    const std::int32_t* to_positive = product_row(block, node, positive);
    block.for_each_thread([&](int thread) {
        for (auto t = static_cast<std::uint32_t>(thread); t < node.size; t += threads) {
            scratch.gains[t] = to_positive[scratch.patches[t]];
        }
    });
    const std::int32_t* to_negative = product_row(block, node, negative);
    block.for_each_thread([&](int thread) {
        for (auto t = static_cast<std::uint32_t>(thread); t < node.size; t += threads) {
            const bool closer = scratch.gains[t] > to_negative[scratch.patches[t]];
            scratch.turn[t] = t == positive || (closer && t != negative) ? 1 : 0;
        }
    });
}

// The released program's start: cluster 1 holds what is linked to s+ and not to s-.
__device__ inline void start_by_links(Block& block, const Node& node, std::uint32_t positive,
                                      std::uint32_t negative) {
    const Scratch& scratch = node.scratch;
    const std::uint32_t* links = node.image.links;
    const std::uint64_t words = node.image.words();
    const auto linked = [links, words](std::uint64_t p, std::uint32_t q) {
        return (links[p * words + q / kLinkBits] >> q % kLinkBits & 1) != 0;
    };
    const std::uint64_t p = scratch.patches[positive], n = scratch.patches[negative];
    block.for_each_thread([&](int thread) {
        const auto threads = static_cast<std::uint32_t>(block.threads());
        for (auto t = static_cast<std::uint32_t>(thread); t < node.size; t += threads) {
            const std::uint32_t q = scratch.patches[t];
            const bool chosen = linked(p, q) && !linked(n, q);
            scratch.turn[t] = t == positive || (chosen && t != negative) ? 1 : 0;
        }
    });
}

__device__ inline void start_at_random(Block& block, Shared& shared, const Node& node,
                                       std::uint64_t seed) {
    const Scratch& scratch = node.scratch;
    const std::uint64_t key = key_of(seed, {scratch.patches[0], node.size, kRandomStartKey});
    block.for_each_thread([&](int thread) {
        if (thread == 0) shared.start_ones = 0;
    });
    block.for_each_thread([&](int thread) {
        std::uint32_t ones = 0;
        const auto threads = static_cast<std::uint32_t>(block.threads());
        for (auto t = static_cast<std::uint32_t>(thread); t < node.size; t += threads) {
            scratch.turn[t] = mix(key ^ scratch.patches[t]) & 1;
            ones += scratch.turn[t];
        }
        if (ones > 0) block.add(shared.start_ones, ones);
    });
    const std::uint32_t ones = shared.start_ones;
    block.for_each_thread([&](int thread) {
        if (thread != 0) return;
        if (ones == 0) scratch.turn[0] = 1;
        if (ones == node.size) scratch.turn[0] = 0;
    });
}

// The clusters before the first sweep.
__device__ inline void start(Block& block, Shared& shared, const Node& node, const Options& options,
                             const Measures& measures) {
    if (options.start == Start::random) {
        start_at_random(block, shared, node, options.seed);
        return;
    }
    std::uint32_t negative = measures.negative;
    if (negative == measures.positive) {
        negative = least_similar(block, shared, node, measures.positive);
    }
    if (options.rules == Rules::released) {
        start_by_links(block, node, measures.positive, negative);
    } else {
        start_by_similarity(block, node, measures.positive, negative);
    }
}

}  // namespace claid::cuda

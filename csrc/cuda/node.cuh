// A node S while a block works on it: where its patches, sums and sets lie, and what the threads
// of the block share.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/block.cuh"
#include "cuda/image.hpp"
#include "cuda/scratch.hpp"

namespace claid::cuda {

// Arrays of a block, in shared memory where they fit, else in the device's. Position t is the
// patch patches[t] of the node.
struct Scratch {
    std::int64_t* gains;        // [padded] of leaving cluster 1, kept up to date by k-sums
    std::int32_t* squares;      // [padded] f_t
    std::int32_t* difference;   // [stride] D_1 - D_0, before the first sweep
    std::int32_t* product_row;  // [padded] by patch; only for images whose products are not kept
    std::uint32_t* turn;     // [padded] cluster, in the lowest bit, and the visit that comes to t
    std::uint32_t* inside;   // [padded / 32] bits of the patches of S
    std::uint32_t* ones;     // [padded / 32] bits of the patches in cluster 1
    std::uint16_t* patches;  // [padded] ascending
    std::uint16_t* visited;  // [padded] the position that each visit of the sweep comes to

    [[nodiscard]] __device__ std::uint32_t cluster(std::uint32_t t) const { return turn[t] & 1; }

    // The components need no gains any more: both by patch, in their place.
    [[nodiscard]] __device__ std::uint32_t* parent() const {
        return reinterpret_cast<std::uint32_t*>(gains);
    }
    [[nodiscard]] __device__ std::uint32_t* cursor(std::uint32_t padded) const {
        return parent() + padded;
    }

    // In scratch_bytes() of memory; every array starts at a multiple of 16 bytes, for kTile and
    // kRowStep do.
    __device__ static Scratch in(std::byte* at, const Image& image) {
        Scratch s;
        s.gains = take<std::int64_t>(at, image.padded);
        s.squares = take<std::int32_t>(at, image.padded);
        s.difference = take<std::int32_t>(at, image.stride);
        s.product_row = take<std::int32_t>(at, image.products == nullptr ? image.padded : 0);
        s.turn = take<std::uint32_t>(at, image.padded);
        s.inside = take<std::uint32_t>(at, image.words());
        s.ones = take<std::uint32_t>(at, image.words());
        s.patches = take<std::uint16_t>(at, image.padded);
        s.visited = take<std::uint16_t>(at, image.padded);
        return s;
    }

  private:
    template <class T>
    __device__ static T* take(std::byte*& at, std::size_t count) {
        T* const array = reinterpret_cast<T*>(at);
        at += count * sizeof(T);
        return array;
    }
};

struct Node {
    const Image& image;
    const Scratch& scratch;
    std::uint32_t size;
};

inline constexpr std::uint32_t kNone = 0xFFFFFFFF;

// Each field has one reader and one place where it is set anew.
struct Shared {
    std::uint32_t record;  // tree.cuh

    std::uint64_t link_ends;  // node.cuh, measure
    std::uint32_t most, least, high, left, right;

    std::uint64_t least_similar;  // seeds.cuh
    std::uint32_t start_ones;

    std::int32_t size_difference;  // ksums.cuh: N_1 - N_0
    std::uint64_t square_difference;
    std::uint32_t mover[3];

    std::uint32_t component_count, component_members, first_record, fits;  // components.cuh
    std::uint32_t taken_records, taken_members;
    std::uint64_t first_member;
};

// What Eq. 6 to 10 say of a node.
struct Measures {
    std::uint64_t link_ends;           // twice the links inside
    std::uint32_t positive, negative;  // positions of the highest and of the lowest degree
    std::uint32_t high;                // patches in H
    std::int32_t box[4];
};

// Degrees are below 2^16 and so are positions: one word holds both, and ties go to the lowest.
struct DegreeKey {
    static constexpr std::uint32_t kMask = 0xFFFF;
    static constexpr std::uint32_t lowest_first(std::uint32_t degree, std::uint32_t t) {
        return degree << 16 | t;
    }
    static constexpr std::uint32_t highest_first(std::uint32_t degree, std::uint32_t t) {
        return degree << 16 | (kMask - t);
    }
};

// Brings the patches of a node, in any order in `members` (null for a root: all), in ascending
// order, there and in the scratch.
__device__ inline void gather(Block& block, Shared& shared, const Node& node,
                              std::uint16_t* members) {
    const Image& image = node.image;
    const Scratch& scratch = node.scratch;
    const std::uint32_t threads = static_cast<std::uint32_t>(block.threads());
    block.for_each_thread([&](int thread) {
        const auto first = static_cast<std::uint32_t>(thread);
        for (std::uint32_t w = first; w < image.words(); w += threads) scratch.inside[w] = 0;
        if (thread == 0) {
            shared.link_ends = 0;
            shared.most = 0;
            shared.least = kNone;
            shared.high = 0;
            shared.left = kNone;
            shared.right = kNone;
        }
    });
    block.for_each_thread([&](int thread) {
        for (auto t = static_cast<std::uint32_t>(thread); t < node.size; t += threads) {
            const std::uint32_t p = members == nullptr ? t : members[t];
            block.set_bits(scratch.inside[p / kLinkBits], 1U << p % kLinkBits);
        }
    });
    block.for_each_thread([&](int thread) {
        std::uint32_t high = 0, before = 0, counted = 0;
        for (auto w = static_cast<std::uint32_t>(thread); w < image.words(); w += threads) {
            for (; counted < w; ++counted) before += popcount(scratch.inside[counted]);
            std::uint32_t t = before;
            for (std::uint32_t bits = scratch.inside[w]; bits != 0; bits &= bits - 1) {
                const auto p = static_cast<std::uint16_t>(w * kLinkBits + lowest_bit(bits));
                scratch.patches[t] = p;
                if (members != nullptr) members[t] = p;
                ++t;
            }
            high += popcount(scratch.inside[w] & image.high[w]);
        }
        if (high > 0) block.add(shared.high, high);
    });
}

// Eq. 6: deg(i), the links of the patch at position t inside S. For a team.
__device__ inline std::uint32_t degree(Block& block, const Node& node, std::uint32_t t) {
    constexpr std::uint32_t kQuadBits = 4 * kLinkBits;
    const std::uint16_t* patches = node.scratch.patches;
    const std::uint32_t first = patches[0] / kQuadBits;
    const std::uint32_t count = patches[node.size - 1] / kQuadBits + 1 - first;
    const std::uint64_t row = std::uint64_t{patches[t]} * node.image.words();
    const auto* links = reinterpret_cast<const Words*>(node.image.links + row) + first;
    const auto* inside = reinterpret_cast<const Words*>(node.scratch.inside) + first;
    return block.team_sum<std::uint32_t>(count, [&](std::uint32_t i) {
        const Words a = links[i], b = inside[i];
        return popcount(a.word[0] & b.word[0]) + popcount(a.word[1] & b.word[1]) +
               popcount(a.word[2] & b.word[2]) + popcount(a.word[3] & b.word[3]);
    });
}

__device__ inline Measures measure(Block& block, Shared& shared, const Node& node,
                                   std::uint16_t* members) {
    const Scratch& scratch = node.scratch;
    const std::uint32_t width = node.image.width();
    gather(block, shared, node, members);
    block.for_each_thread([&](int thread) {
        std::uint32_t left = kNone, right = kNone;  // right: from the right, to be a minimum too
        const auto threads = static_cast<std::uint32_t>(block.threads());
        for (auto t = static_cast<std::uint32_t>(thread); t < node.size; t += threads) {
            const std::uint32_t p = scratch.patches[t], x = p % width;
            left = x < left ? x : left;
            right = width - x < right ? width - x : right;
            scratch.squares[t] = node.image.squares[p];
        }
        block.minimum(shared.left, left);
        block.minimum(shared.right, right);
    });
    block.for_each_team([&](int team) {
        std::uint64_t ends = 0;
        std::uint32_t most = 0, least = kNone;
        const auto teams = static_cast<std::uint32_t>(block.teams());
        for (auto t = static_cast<std::uint32_t>(team); t < node.size; t += teams) {
            const std::uint32_t inside = degree(block, node, t);
            const std::uint32_t high_key = DegreeKey::highest_first(inside, t);
            const std::uint32_t low_key = DegreeKey::lowest_first(inside, t);
            ends += inside;
            most = high_key > most ? high_key : most;
            least = low_key < least ? low_key : least;
        }
        block.once([&] {
            if (least == kNone) return;
            block.add(shared.link_ends, ends);
            block.most(shared.most, most);
            block.least(shared.least, least);
        });
    });
    Measures m;
    m.link_ends = shared.link_ends;
    m.positive = DegreeKey::kMask - (shared.most & DegreeKey::kMask);
    m.negative = shared.least & DegreeKey::kMask;
    m.high = shared.high;
    m.box[0] = static_cast<std::int32_t>(shared.left);
    m.box[1] = static_cast<std::int32_t>(scratch.patches[0] / width);
    m.box[2] = static_cast<std::int32_t>(width - shared.right + 1);
    m.box[3] = static_cast<std::int32_t>(scratch.patches[node.size - 1] / width + 1);
    return m;
}

}  // namespace claid::cuda

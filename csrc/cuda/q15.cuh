// Q15 rows and energy (sections III-A and III-D), one contract lane at a time, and H.
#pragma once

#include <cstdint>

#include "cuda/node.cuh"

namespace claid::cuda {

inline constexpr std::uint32_t kLanes = 16;  // of the contract's float64 sums

struct RowNorms {
    double squared_norm;
    double energy;
};

// What one lane adds up, in its order: the features lane, lane + 16, lane + 32, ...
template <class Load>
__device__ RowNorms lane_norms(const Load& load, std::uint64_t dims, std::uint32_t lane) {
    RowNorms sums{0.0, 0.0};
#pragma unroll 8
    for (std::uint64_t k = lane; k < dims; k += kLanes) {
        const double x = load(k);
        sums.squared_norm += x * x;
        sums.energy += x < 0.0 ? -x : x;
    }
    return sums;
}

// The first feature of the lane that is not finite; dims when all are.
template <class Load>
__device__ std::uint64_t first_not_finite(const Load& load, std::uint64_t dims,
                                          std::uint32_t lane) {
    for (std::uint64_t k = lane; k < dims; k += kLanes) {
        const float x = load(k);
        if (!(x - x == 0.0F)) return k;
    }
    return dims;
}

// Energies are not negative, so that their bits are ordered as they are.
__device__ inline std::uint32_t bits_of(float energy) { return __float_as_uint(energy); }

struct EnergyShared {
    std::uint32_t bins[256];
};

// H: all patches at or above the m-th largest energy, found digit by digit from the top.
__device__ inline void find_high_energy(Block& block, EnergyShared& shared, const Image& image) {
    const auto threads = static_cast<std::uint32_t>(block.threads());
    std::uint32_t threshold = 0, wanted = image.high_count;
    for (std::uint32_t shift = 32; shift > 0;) {
        shift -= 8;
        block.for_each_thread([&](int thread) {
            for (auto b = static_cast<std::uint32_t>(thread); b < 256; b += threads)
                shared.bins[b] = 0;
        });
        block.for_each_thread([&](int thread) {
            for (auto p = static_cast<std::uint32_t>(thread); p < image.patches; p += threads) {
                const std::uint32_t bits = bits_of(image.energy[p]);
                const bool above_agrees =
                    shift == 24 || bits >> (shift + 8) == threshold >> (shift + 8);
                if (above_agrees) block.add(shared.bins[bits >> shift & 0xFF], 1U);
            }
        });
        std::uint32_t digit = 255;
        for (; digit > 0 && shared.bins[digit] < wanted; --digit) wanted -= shared.bins[digit];
        threshold |= digit << shift;
        block.for_each_thread([](int) {});  // the bins are read before they are cleared again
    }
    block.for_each_thread([&](int thread) {
        for (auto w = static_cast<std::uint32_t>(thread); w < image.words(); w += threads) {
            std::uint32_t word = 0;
            for (std::uint32_t bit = 0; bit < kLinkBits; ++bit) {
                const std::uint32_t p = w * kLinkBits + bit;
                if (p < image.patches && bits_of(image.energy[p]) >= threshold) word |= 1U << bit;
            }
            image.high[w] = word;
        }
    });
}

}  // namespace claid::cuda

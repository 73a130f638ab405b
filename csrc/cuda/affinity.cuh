// The index arithmetic of the affinity kernel: how int16 rows become operands of the tensor cores,
// and where the products lie.
//
// q = 256 h + l with h signed and l unsigned, the two bytes of an int16. The product of two rows is
//     65536 h.h' + 256 (h.l' + l.h') + l.l',
// four products of bytes with int32 sums. Sums and their combination may wrap around 2^32 (the mma
// instructions do not saturate): the result is right modulo 2^32, and it is below 2^31.
#pragma once

#include <cstdint>

#include "cuda/block.cuh"
#include "cuda/image.hpp"

namespace claid::cuda {

// A warp computes 32 x 32 products: 2 x 4 mma tiles of 16 x 8, in steps of 32 columns of the rows.
inline constexpr std::uint32_t kWarpTile = 32;
inline constexpr std::uint32_t kMmaRows = 2, kMmaColumns = 4, kMmaValues = 4;

// A lane reads eight int16 of a row at once: lane % 4 says which of the 32 of a step. The mma's own
// order of columns is another, but a sum does not mind, for both operands are read alike.
struct LaneHalves {
    std::uint32_t high[2];  // four bytes h each
    std::uint32_t low[2];   // four bytes l each
};

// Bytes 1, 3, 5, 7 (odd) or 0, 2, 4, 6 of eight.
__device__ inline std::uint32_t every_other_byte(std::uint32_t first, std::uint32_t second,
                                                 bool odd) {
    return __byte_perm(first, second, odd ? 0x7531 : 0x6420);
}

__device__ inline LaneHalves split(const Words& eight) {
    const std::uint32_t* w = eight.word;
    return {{every_other_byte(w[0], w[1], true), every_other_byte(w[2], w[3], true)},
            {every_other_byte(w[0], w[1], false), every_other_byte(w[2], w[3], false)}};
}

// In group r of eight rows of a warp tile, a lane holds row lane / 4: of A for mma row r / 2, of B
// for mma column r.
__device__ constexpr std::uint32_t operand_row(std::uint32_t group, std::uint32_t lane) {
    return 8 * group + lane / 4;
}

// Where value v of a lane's mma tile (i, j) lies in the warp tile.
__device__ constexpr std::uint32_t value_row(std::uint32_t i, std::uint32_t v, std::uint32_t lane) {
    return 16 * i + 8 * (v / 2) + lane / 4;
}
__device__ constexpr std::uint32_t value_column(std::uint32_t j, std::uint32_t v,
                                                std::uint32_t lane) {
    return 8 * j + 2 * (lane % 4) + v % 2;
}

__device__ constexpr std::int32_t combine(std::int32_t high, std::int32_t middle,
                                          std::int32_t low) {
    return static_cast<std::int32_t>((static_cast<std::uint32_t>(high) << 16) +
                                     (static_cast<std::uint32_t>(middle) << 8) +
                                     static_cast<std::uint32_t>(low));
}

// A row of 32 bits lies in four lanes until they are joined; then lane l has row row_of_lane(l),
// and the word of row r is lane lane_of_row(r)'s.
__device__ constexpr std::uint32_t row_of_lane(std::uint32_t lane) {
    return 8 * (lane % 4) + lane / 4;
}
__device__ constexpr std::uint32_t lane_of_row(std::uint32_t row) {
    return 4 * (row % 8) + row / 8;
}

// One step of a 32 x 32 bit transpose, word r in lane r: `other` is lane r ^ half's word. Steps
// half = 16, 8, 4, 2, 1 make the whole.
__device__ constexpr std::uint32_t transpose_step(std::uint32_t word, std::uint32_t other,
                                                  std::uint32_t lane, std::uint32_t half) {
    // Bits whose number has no `half`, such as 0x0000FFFF for 16.
    const std::uint32_t mask = 0xFFFFFFFF / ((1U << half) + 1);
    return (lane & half) == 0 ? (word & mask) | (other & mask) << half
                              : (word & ~mask) | (other >> half & mask);
}

// Bits of a word of 32 patches from `first` on that are patches of the image at all.
__device__ constexpr std::uint32_t patches_in_word(std::uint32_t first, std::uint32_t patches) {
    if (first >= patches) return 0;
    const std::uint32_t count = patches - first;
    return count >= 32 ? 0xFFFFFFFF : (1U << count) - 1;
}

// Tiles on and right of the diagonal, column by column: 0 0, 0 1, 1 1, 0 2, ...
struct TilePlace {
    std::uint32_t row, column;
};
constexpr std::uint32_t tile_count(std::uint32_t tiles_across) {
    return tiles_across * (tiles_across + 1) / 2;
}
__device__ inline TilePlace tile_place(std::uint32_t number) {
    // Integer square root: a float's may be one off.
    std::uint32_t column = 0;
    for (std::uint32_t step = 512; step > 0; step /= 2) {
        if (tile_count(column + step) <= number) column += step;
    }
    return {number - tile_count(column), column};
}

}  // namespace claid::cuda

// NEON with the int8 matrix products of Armv8.6: 32 multiply-adds an instruction (smmla), two rows
// by two columns of eight dimensions.
#include "claid/simd/dotprod_isa.hpp"

namespace claid {
namespace {

constexpr int kRows = 8, kColumns = 8, kDepth = 8;

// panel[step][column] is eight int8 of a column.
void pack_panel(const std::int8_t* rows, std::size_t stride, std::int8_t* panel) {
    for (std::size_t k = 0; k < stride; k += kDepth) {
        for (std::size_t column = 0; column < kColumns; ++column, panel += kDepth) {
            std::memcpy(panel, rows + column * stride + k, kDepth);
        }
    }
}

int tile(const std::int8_t* rows, std::size_t stride, const std::int8_t* column_panel,
         const FilterRow* bounds, FilterColumns columns, std::uint32_t* linked,
         std::uint32_t* undecided) {
    constexpr int kRowPairs = kRows / 2, kColumnPairs = kColumns / 2;
    int32x4_t acc[kRowPairs][kColumnPairs] = {};
    for (std::size_t k = 0; k < stride; k += kDepth, column_panel += kColumns * kDepth) {
        int8x16_t pair[kColumnPairs];
#pragma GCC unroll 4
        for (int c = 0; c < kColumnPairs; ++c) pair[c] = vld1q_s8(column_panel + 2 * kDepth * c);
#pragma GCC unroll 4
        for (int r = 0; r < kRowPairs; ++r) {
            const std::int8_t* two = rows + static_cast<std::size_t>(2 * r) * stride + k;
            const int8x16_t row = vcombine_s8(vld1_s8(two), vld1_s8(two + stride));
#pragma GCC unroll 4
            for (int c = 0; c < kColumnPairs; ++c) acc[r][c] = vmmlaq_s32(acc[r][c], row, pair[c]);
        }
    }
    int open = 0;
#pragma GCC unroll 4
    for (int r = 0; r < kRowPairs; ++r) {
        // An accumulator holds both columns of the first row, then of the second.
        for (int odd = 0; odd < 2; ++odd) {
            FilterBits bits = {0, 0};
            for (int c = 0; c < kColumnPairs; c += 2) {
                const int64x2_t a = vreinterpretq_s64_s32(acc[r][c]);
                const int64x2_t b = vreinterpretq_s64_s32(acc[r][c + 1]);
                const int64x2_t four = odd == 0 ? vzip1q_s64(a, b) : vzip2q_s64(a, b);
                const FilterBits part =
                    DotFilter::decide(vreinterpretq_s32_s64(four), bounds[2 * r + odd],
                                      columns.unit + 2 * c, columns.reach + 2 * c);
                bits.above |= part.above << (2 * c);
                bits.not_below |= part.not_below << (2 * c);
            }
            linked[2 * r + odd] = bits.above;
            undecided[2 * r + odd] = bits.not_below & ~bits.above;
            open += __builtin_popcount(undecided[2 * r + odd]);
        }
    }
    return open;
}

constexpr FilterKernels kFilter = {
    kRows, DotFilter::kSpeed, DotFilter::kMost, &to_int8<DotFilter>, &pack_panel, &tile};
constexpr Kernels kKernels = kernels_of<Neon>("i8mm", &kFilter);
static_assert(kKernels.tile_columns == kColumns);

}  // namespace

const Kernels* i8mm_kernels() { return &kKernels; }

}  // namespace claid

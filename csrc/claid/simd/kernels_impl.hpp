// The kernels, written once over an instruction set's vectors. Each level's file defines a struct
// Isa with them and includes this.
//
//   Isa::Vec   a register of int16          Isa::Acc   exact int32 sums of products of pairs
//   kColumns   columns of an affinity tile that one Acc covers
//   kRows      rows of an affinity tile      kVecs      Accs a row of it
//   kDoubles   float64 in a register
//   load, broadcast_pair, zero, multiply_add, greater (a bit a column)
//   sum (of all columns), sums (of kVisitBatch Accs)
//   raise (numbers in memory to the columns' sums, labelled as match_tile says, where higher)
#pragma once

#include <bit>
#include <cstring>

#include "claid/simd/kernels.hpp"

namespace claid {
namespace {

using Int4 = std::int32_t __attribute__((vector_size(16)));

constexpr std::size_t kLanes = 16;  // of the contract's float64 sums

// Rounds to the nearest integer, half to even, as rint does, for magnitudes below 2^51.
constexpr double kRoundingConstant = 6755399441055744.0;  // 1.5 * 2^52

[[gnu::always_inline]] inline Int4 load_int4(const void* from) {
    Int4 v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

template <std::uint8_t Offset>
[[gnu::always_inline]] inline Int4 add_to_bytes(Int4 v) {
    using Bytes = std::uint8_t __attribute__((vector_size(sizeof(Int4))));
    return std::bit_cast<Int4>(std::bit_cast<Bytes>(v) + Offset);
}

// Calls body(16 floats) for each step of a row, the last step padded with zeros.
template <class Body>
[[gnu::always_inline]] inline void for_each_step(const float* row, std::size_t dims, Body body) {
    std::size_t k = 0;
    for (; k + kLanes <= dims; k += kLanes) body(row + k, k);
    if (k < dims) {
        float tail[kLanes] = {};
        std::memcpy(tail, row + k, (dims - k) * sizeof(float));
        body(tail, k);
    }
}

// The contract's lanes in registers of N float64.
template <int N>
struct Lanes;
template <>
struct Lanes<2> {
    using Float = float __attribute__((vector_size(8)));
    using Double = double __attribute__((vector_size(16)));
    using Int64 = std::int64_t __attribute__((vector_size(16)));
    using Int32 = std::int32_t __attribute__((vector_size(8)));
    using Int16 = std::int16_t __attribute__((vector_size(4)));
};
template <>
struct Lanes<4> {
    using Float = float __attribute__((vector_size(16)));
    using Double = double __attribute__((vector_size(32)));
    using Int64 = std::int64_t __attribute__((vector_size(32)));
    using Int32 = std::int32_t __attribute__((vector_size(16)));
    using Int16 = std::int16_t __attribute__((vector_size(8)));
};
template <>
struct Lanes<8> {
    using Float = float __attribute__((vector_size(32)));
    using Double = double __attribute__((vector_size(64)));
    using Int64 = std::int64_t __attribute__((vector_size(64)));
    using Int32 = std::int32_t __attribute__((vector_size(32)));
    using Int16 = std::int16_t __attribute__((vector_size(16)));
};

// Where the compiler splits the conversion in two, a level has its own.
template <class Isa>
[[gnu::always_inline]] inline typename Lanes<Isa::kDoubles>::Double widen(const float* x) {
    using L = Lanes<Isa::kDoubles>;
    if constexpr (requires { Isa::widen(x); }) {
        return std::bit_cast<typename L::Double>(Isa::widen(x));
    } else {
        typename L::Float value;
        std::memcpy(&value, x, sizeof value);
        return __builtin_convertvector(value, typename L::Double);
    }
}

template <class L>
[[gnu::always_inline]] inline typename L::Double magnitude(typename L::Double value) {
    constexpr std::int64_t kWithoutSign = 0x7FFFFFFFFFFFFFFF;
    return std::bit_cast<typename L::Double>(std::bit_cast<typename L::Int64>(value) &
                                             kWithoutSign);
}

// Lane j += lane j + 8, then 4, 2, 1.
inline double sum_lanes(double (&lane)[kLanes]) {
    for (std::size_t half = kLanes / 2; half > 0; half /= 2) {
        for (std::size_t j = 0; j < half; ++j) lane[j] += lane[j + half];
    }
    return lane[0];
}

template <class Isa>
RowNorms row_norms(const float* row, std::size_t dims) {
    using L = Lanes<Isa::kDoubles>;
    constexpr int kRegisters = kLanes / Isa::kDoubles;
    typename L::Double squares[kRegisters] = {}, energy[kRegisters] = {};
    for_each_step(row, dims, [&](const float* x, std::size_t) {
#pragma GCC unroll 8
        for (int i = 0; i < kRegisters; ++i) {
            const typename L::Double value = widen<Isa>(x + Isa::kDoubles * i);
            squares[i] += value * value;
            energy[i] += magnitude<L>(value);
        }
    });
    double square_lanes[kLanes], energy_lanes[kLanes];
    std::memcpy(square_lanes, squares, sizeof squares);
    std::memcpy(energy_lanes, energy, sizeof energy);
    return {sum_lanes(square_lanes), sum_lanes(energy_lanes)};
}

template <class Isa>
void quantise(const float* row, std::size_t dims, double scale, std::int16_t* q,
              std::size_t padded) {
    using L = Lanes<Isa::kDoubles>;
    constexpr int kRegisters = kLanes / Isa::kDoubles;
    for_each_step(row, dims, [&](const float* x, std::size_t k) {
#pragma GCC unroll 8
        for (int i = 0; i < kRegisters; ++i) {
            const typename L::Double exact = widen<Isa>(x + Isa::kDoubles * i) * scale;
            const typename L::Double rounded = (exact + kRoundingConstant) - kRoundingConstant;
            const auto narrow = __builtin_convertvector(
                __builtin_convertvector(rounded, typename L::Int32), typename L::Int16);
            std::memcpy(q + k + Isa::kDoubles * i, &narrow, sizeof narrow);
        }
    });
    const std::size_t written = (dims + kLanes - 1) / kLanes * kLanes;
    std::memset(q + written, 0, (padded - written) * sizeof(std::int16_t));
}

// panel[word][column] = the 32-bit word of each of Columns rows, Offset added to its bytes, by
// transposing blocks of 4 x 4. T is int16 or int8; words, rounded up to 4, are inside the rows'
// padding.
template <std::size_t Columns, std::uint8_t Offset, class T>
[[gnu::always_inline]] inline void interleave(const T* rows, std::size_t stride, std::size_t words,
                                              T* panel) {
    static_assert(Columns % 4 == 0);
    constexpr std::size_t kWord = sizeof(std::int32_t) / sizeof(T);
    for (std::size_t word = 0; word < words; word += 4) {
        for (std::size_t column = 0; column < Columns; column += 4) {
            const T* from = rows + column * stride + kWord * word;
            const Int4 a = add_to_bytes<Offset>(load_int4(from));
            const Int4 b = add_to_bytes<Offset>(load_int4(from + stride));
            const Int4 c = add_to_bytes<Offset>(load_int4(from + 2 * stride));
            const Int4 d = add_to_bytes<Offset>(load_int4(from + 3 * stride));
            const Int4 ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
            const Int4 ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
            const Int4 cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
            const Int4 cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
            const Int4 out[4] = {__builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5),
                                 __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
                                 __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5),
                                 __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)};
            for (std::size_t p = 0; p < 4; ++p) {
                std::memcpy(panel + kWord * ((word + p) * Columns + column), &out[p], sizeof(Int4));
            }
        }
    }
}

template <std::size_t Columns>
void pack_panel(const std::int16_t* rows, std::size_t stride, std::size_t pairs,
                std::int16_t* panel) {
    interleave<Columns, 0>(rows, stride, pairs, panel);
}

// The register tile: kRows x kVecs accumulators, one multiply-add each a pair of dimensions.
template <class Isa>
[[gnu::always_inline]] inline void tile_products(const std::int16_t* row_panel,
                                                 const std::int16_t* column_panel,
                                                 std::size_t pairs,
                                                 typename Isa::Acc (&acc)[Isa::kRows][Isa::kVecs]) {
    constexpr int kRows = Isa::kRows, kVecs = Isa::kVecs;
    constexpr std::size_t kStep = 2 * Isa::kColumns * kVecs;  // int16 a pair of a panel
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) acc[r][v] = Isa::zero();
    }
    for (std::size_t p = 0; p < pairs; ++p, row_panel += kStep, column_panel += kStep) {
        typename Isa::Vec column[kVecs];
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) column[v] = Isa::load(column_panel + 2 * Isa::kColumns * v);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
            const typename Isa::Vec row = Isa::broadcast_pair(row_panel + 2 * r);
#pragma GCC unroll 4
            for (int v = 0; v < kVecs; ++v) {
                acc[r][v] = Isa::multiply_add(acc[r][v], row, column[v]);
            }
        }
    }
}

template <class Isa>
void affinity_tile(const std::int16_t* row_panel, const std::int16_t* column_panel,
                   std::size_t pairs, std::int32_t threshold, std::uint32_t* bits) {
    constexpr int kRows = Isa::kRows, kVecs = Isa::kVecs;
    typename Isa::Acc acc[kRows][kVecs];
    tile_products<Isa>(row_panel, column_panel, pairs, acc);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
        std::uint32_t row_bits = 0;
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) {
            row_bits |= Isa::greater(acc[r][v], threshold) << (Isa::kColumns * v);
        }
        bits[r] = row_bits;
    }
}

template <class Isa>
void match_tile(const std::int16_t* row_panel, const std::int16_t* column_panel, std::size_t pairs,
                std::int32_t first_row, std::int32_t* best) {
    constexpr int kRows = Isa::kRows, kVecs = Isa::kVecs;
    typename Isa::Acc acc[kRows][kVecs];
    tile_products<Isa>(row_panel, column_panel, pairs, acc);
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) {
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
            Isa::raise(best + Isa::kColumns * v, acc[r][v], first_row + r);
        }
    }
}

template <class Isa>
constexpr std::size_t kVecInt16 = sizeof(typename Isa::Vec) / sizeof(std::int16_t);

template <class Isa>
std::int32_t dot(const std::int16_t* a, const std::int16_t* b, std::size_t padded) {
    typename Isa::Acc acc = Isa::zero();
    for (std::size_t k = 0; k < padded; k += kVecInt16<Isa>) {
        acc = Isa::multiply_add(acc, Isa::load(a + k), Isa::load(b + k));
    }
    return Isa::sum(acc);
}

template <class Isa>
void dot_batch(const std::int16_t* row, const std::int16_t* const* others, std::size_t padded,
               std::int32_t* out) {
    typename Isa::Acc acc[kVisitBatch];
    for (typename Isa::Acc& sum : acc) sum = Isa::zero();
    for (std::size_t k = 0; k < padded; k += kVecInt16<Isa>) {
        const typename Isa::Vec a = Isa::load(row + k);
#pragma GCC unroll 4
        for (std::size_t j = 0; j < kVisitBatch; ++j) {
            acc[j] = Isa::multiply_add(acc[j], a, Isa::load(others[j] + k));
        }
    }
    Isa::sums(acc, out);
}

void degrees(const std::uint64_t* rows, std::size_t words, const std::uint16_t* patches,
             std::size_t count, const std::uint64_t* membership, std::size_t first,
             std::size_t last, std::uint32_t* out) {
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint64_t* row = rows + patches[i] * words;
        std::uint64_t degree = 0;
        for (std::size_t w = first; w < last; ++w) {
            degree += static_cast<std::uint64_t>(__builtin_popcountll(row[w] & membership[w]));
        }
        out[i] = static_cast<std::uint32_t>(degree);
    }
}

void add_row(std::int32_t* sum, const std::int16_t* q, std::int32_t factor, std::size_t padded) {
    for (std::size_t k = 0; k < padded; ++k) sum[k] += factor * q[k];
}

void add_row_and_narrow(std::int32_t* sum, const std::int16_t* q, std::int32_t factor, int shift,
                        std::int16_t* upper, std::size_t padded) {
    const std::int32_t half = 1 << (shift - 1);
    for (std::size_t k = 0; k < padded; ++k) {
        const std::int32_t added = sum[k] + factor * q[k];
        sum[k] = added;
        upper[k] = static_cast<std::int16_t>((added + half) >> shift);
    }
}

std::int64_t dot_wide(const std::int16_t* row, const std::int32_t* sum, std::size_t padded) {
    std::int64_t total = 0;
    for (std::size_t k = 0; k < padded; ++k) total += std::int64_t{row[k]} * sum[k];
    return total;
}

template <class Isa>
constexpr Kernels kernels_of(const char* level, const FilterKernels* filter = nullptr) {
    constexpr std::size_t kTileColumns = Isa::kColumns * Isa::kVecs;
    static_assert(kWordBits % kTileColumns == 0 && kTileColumns % Isa::kRows == 0);
    static_assert(kTileColumns <= 32, "a tile's row of bits is one uint32");
    static_assert(kRowMultiple % kVecInt16<Isa> == 0);
    return {level,
            Isa::kRows,
            kTileColumns,
            &row_norms<Isa>,
            &quantise<Isa>,
            &pack_panel<kTileColumns>,
            &affinity_tile<Isa>,
            &match_tile<Isa>,
            filter,
            &dot<Isa>,
            &dot_batch<Isa>,
            &degrees,
            &add_row,
            &add_row_and_narrow,
            &dot_wide};
}

}  // namespace
}  // namespace claid

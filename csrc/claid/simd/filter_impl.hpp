// The filter in int8, written once over an instruction set's vectors. A level that has one defines
// a struct F with them and includes this.
//
//   F::Vec         a register of int8
//   F::Acc         int32 sums of products of four, one a column
//   kColumns       columns that one Acc covers
//   kRows, kVecs   rows of a tile, Accs a row of it
//   kMost          the largest magnitude in int8 rows
//   kSpeed         int8 products in the time of one of int16, about
//   kOffset        what panels hold beside a: more than 0 where products are of unsigned by signed
//   kSteps         steps of 4 int8 that one multiply_add takes
//   load (a register of columns; the next step's is `step` further), broadcast (4 int8 a step),
//   start (every column from a number), multiply_add (row, column), decide
//   widen (products of int16 to a register of int32), narrow (the low byte of each lane)
#pragma once

#include <bit>
#include <utility>

#include "claid/simd/kernels_impl.hpp"

namespace claid {
namespace {

// Added to a float32 below 2^22 in magnitude, it leaves the nearest integer in the low bits.
constexpr float kFloatRoundingConstant = 12582912.0F;  // 1.5 * 2^23

struct SpreadSigns {
    std::int16_t sign[kSpreadBlock];
};
constexpr SpreadSigns spread_signs() {
    SpreadSigns signs{};
    for (std::size_t k = 0; k < kSpreadBlock; ++k) {
        signs.sign[k] = (kSpreadSigns >> k & 1) != 0 ? -1 : 1;
    }
    return signs;
}
alignas(64) constexpr SpreadSigns kSigns = spread_signs();

// A bit a column: its product lies above, and not below, the band where the filter cannot tell.
struct FilterBits {
    std::uint32_t above, not_below;
};

// Registers of N lanes of 32 bits.
template <int N>
struct Words;
template <>
struct Words<4> {
    using Int32 = std::int32_t __attribute__((vector_size(16)));
    using Float = float __attribute__((vector_size(16)));
};
template <>
struct Words<8> {
    using Int32 = std::int32_t __attribute__((vector_size(32)));
    using Float = float __attribute__((vector_size(32)));
};
template <>
struct Words<16> {
    using Int32 = std::int32_t __attribute__((vector_size(64)));
    using Float = float __attribute__((vector_size(64)));
};

// Of two registers, every second word (within quarters of four) or every second quarter: what the
// instruction sets shuffle fastest.
enum class Of { words, quarters };

constexpr int every_second_index(Of of, int odd, int lanes, int i) {
    const int quarter = i / 4, word = i % 4;
    if (of == Of::words) return (word / 2 * lanes) + 4 * quarter + 2 * (word % 2) + odd;
    const int half = lanes / 8;  // quarters of the result that come from one register
    return (quarter / half * lanes) + 4 * (2 * (quarter % half) + odd) + word;
}

template <Of Kind, int Odd, class V, int... I>
[[gnu::always_inline]] inline V every_second(V a, V b, std::integer_sequence<int, I...>) {
    constexpr int kLanes = sizeof...(I);
    return __builtin_shufflevector(a, b, every_second_index(Kind, Odd, kLanes, I)...);
}

// One butterfly between neighbouring lanes of all registers.
template <Of Kind, int Registers, class V, class Lanes>
[[gnu::always_inline]] inline void butterfly_lanes(V (&v)[Registers], Lanes lanes) {
#pragma GCC unroll 16
    for (int i = 0; i < Registers; i += 2) {
        const V a = every_second<Kind, 0>(v[i], v[i + 1], lanes);
        const V b = every_second<Kind, 1>(v[i], v[i + 1], lanes);
        v[i] = a + b;
        v[i + 1] = a - b;
    }
}

// The Walsh-Hadamard transform of a block with its signs, in some order of its outputs: all that
// the filter needs is that every row's is the same and W' W = kSpreadBlock. Magnitudes go into
// `most`.
template <class F>
[[gnu::always_inline]] inline void spread_block(const std::int16_t* q, std::int32_t* out,
                                                typename Words<F::kColumns>::Int32& most) {
    using Int32 = typename Words<F::kColumns>::Int32;
    constexpr int N = F::kColumns, kRegisters = kSpreadBlock / N;
    constexpr auto kAll = std::make_integer_sequence<int, N>{};
    Int32 v[kRegisters];
#pragma GCC unroll 16
    for (int i = 0; i < kRegisters; ++i)
        v[i] = std::bit_cast<Int32>(F::widen(q + N * i, kSigns.sign + N * i));
#pragma GCC unroll 4
    for (int half = 1; half < kRegisters; half *= 2) {
#pragma GCC unroll 16
        for (int i = 0; i < kRegisters; ++i) {
            if ((i & half) != 0) continue;
            const Int32 a = v[i], b = v[i + half];
            v[i] = a + b;
            v[i + half] = a - b;
        }
    }
    butterfly_lanes<Of::words>(v, kAll);
    butterfly_lanes<Of::words>(v, kAll);
    if constexpr (N >= 8) butterfly_lanes<Of::quarters>(v, kAll);
    if constexpr (N >= 16) butterfly_lanes<Of::quarters>(v, kAll);
#pragma GCC unroll 16
    for (int i = 0; i < kRegisters; ++i) {
        const Int32 magnitude = v[i] < 0 ? -v[i] : v[i];
        most = most < magnitude ? magnitude : most;
        std::memcpy(out + N * i, &v[i], sizeof v[i]);
    }
}

// The sum or, of magnitudes, the largest of a register's lanes, halved again and again.
template <class T, class V, class Join>
[[gnu::always_inline]] inline T join_lanes(const V& v, Join join) {
    constexpr std::size_t kCount = sizeof v / sizeof(T);
    T lane[kCount];
    std::memcpy(lane, &v, sizeof v);
    for (std::size_t half = kCount / 2; half > 0; half /= 2) {
        for (std::size_t j = 0; j < half; ++j) lane[j] = join(lane[j], lane[j + half]);
    }
    return lane[0];
}

// a * b + c, rounded once or twice.
template <class F, class V>
[[gnu::always_inline]] inline V multiply_add(V a, V b, V c) {
    if constexpr (requires { F::fused(a, b, c); }) {
        return std::bit_cast<V>(F::fused(a, b, c));
    } else {
        return a * b + c;
    }
}

template <class F>
Int8Row to_int8(const std::int16_t* q, std::size_t padded, std::int8_t* a) {
    using Int32 = typename Words<F::kColumns>::Int32;
    using Float = typename Words<F::kColumns>::Float;
    alignas(64) std::int32_t spread[kMaxFilterDims];
    const std::size_t whole = padded / kSpreadBlock * kSpreadBlock;
    Int32 most = {};
    for (std::size_t k = 0; k < whole; k += kSpreadBlock) {
        spread_block<F>(q + k, spread + k, most);
    }
    std::size_t stride = whole;
    if (whole < padded) {
        std::int16_t last[kSpreadBlock] = {};
        std::memcpy(last, q + whole, (padded - whole) * sizeof *q);
        spread_block<F>(last, spread + whole, most);
        stride += kSpreadBlock;
    }
    const auto largest = join_lanes<std::int32_t>(
        most, [](std::int32_t x, std::int32_t y) { return x < y ? y : x; });
    const std::int32_t steps = largest > 0 ? (largest + F::kMost - 1) / F::kMost : 1;
    const float scale = static_cast<float>(steps), unit = 1.0F / scale;

    const Float units = Float{} + unit, minus_scale = Float{} - scale;
    const Float constant = Float{} + kFloatRoundingConstant;
    Float squares = {}, sums = {};
    for (std::size_t k = 0; k < stride; k += F::kColumns) {
        Int32 y;
        std::memcpy(&y, spread + k, sizeof y);
        const Float exact = __builtin_convertvector(y, Float);
        const Float shifted = multiply_add<F>(exact, units, constant);
        const Float rounded = shifted - constant;
        const Float remainder = multiply_add<F>(minus_scale, rounded, exact);
        squares = multiply_add<F>(remainder, remainder, squares);
        sums += rounded;
        F::narrow(a + k, shifted);
    }
    const auto add = [](float x, float y) { return x + y; };
    return {scale, join_lanes<float>(squares, add),
            static_cast<std::int32_t>(join_lanes<float>(sums, add))};
}

template <std::size_t Columns, std::uint8_t Offset>
void pack_int8_panel(const std::int8_t* rows, std::size_t stride, std::int8_t* panel) {
    interleave<Columns, Offset>(rows, stride, stride / sizeof(std::int32_t), panel);
}

template <class F>
int filter_tile(const std::int8_t* rows, std::size_t stride, const std::int8_t* column_panel,
                const FilterRow* bounds, FilterColumns columns, std::uint32_t* linked,
                std::uint32_t* undecided) {
    constexpr int kRows = F::kRows, kVecs = F::kVecs;
    constexpr std::size_t kDepth = 4 * F::kSteps;
    constexpr std::size_t kStep = 4 * F::kColumns * kVecs;  // int8 of a panel in a step
    constexpr std::size_t kPanelStep = kStep * F::kSteps;
    typename F::Acc acc[kRows][kVecs];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) acc[r][v] = F::start(-F::kOffset * bounds[r].sum);
    }
    for (std::size_t k = 0; k < stride; k += kDepth, rows += kDepth, column_panel += kPanelStep) {
        typename F::Vec column[kVecs];
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v)
            column[v] = F::load(column_panel + 4 * F::kColumns * v, kStep);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
            const typename F::Vec row = F::broadcast(rows + static_cast<std::size_t>(r) * stride);
#pragma GCC unroll 4
            for (int v = 0; v < kVecs; ++v) acc[r][v] = F::multiply_add(acc[r][v], row, column[v]);
        }
    }
    int open = 0;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
        std::uint32_t above = 0, not_below = 0;
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) {
            const FilterBits bits = F::decide(acc[r][v], bounds[r], columns.unit + F::kColumns * v,
                                              columns.reach + F::kColumns * v);
            above |= bits.above << (F::kColumns * v);
            not_below |= bits.not_below << (F::kColumns * v);
        }
        linked[r] = above;
        undecided[r] = not_below & ~above;
        open += __builtin_popcount(undecided[r]);
    }
    return open;
}

template <class F>
constexpr FilterKernels filter_of() {
    constexpr std::size_t kTileColumns = F::kColumns * F::kVecs;
    return {F::kRows,
            F::kSpeed,
            F::kMost,
            &to_int8<F>,
            &pack_int8_panel<kTileColumns, F::kOffset>,
            &filter_tile<F>};
}

}  // namespace
}  // namespace claid

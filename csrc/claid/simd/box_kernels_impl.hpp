// The box search's kernels, written once over an instruction set's vectors. Each level's file
// defines a struct Isa with them and includes this.
//
//   Isa::Vec     a register of kWidth float32
//   kTileCells   cells of a tile of best_match; kTileVecs registers of G a cell
//   load, store, broadcast, zero, add, sub, mul, div, min, max, sum, highest
//   multiply_add(a, b, c) = a b + c
#pragma once

#include <cmath>

#include "claid/simd/box_kernels.hpp"

namespace claid {
namespace {

// Not std::min and std::max: a copy that is not inlined, compiled for this level, could stand in for
// everybody's when the program is linked.
template <class T>
[[gnu::always_inline]] inline T smaller(T a, T b) {
    return a < b ? a : b;
}
template <class T>
[[gnu::always_inline]] inline T larger(T a, T b) {
    return a > b ? a : b;
}

template <class Isa>
void add_row(const float* above, const float* row, std::size_t count, float* sum) {
    for (std::size_t k = 0; k < count; k += Isa::kWidth) {
        Isa::store(sum + k, Isa::add(Isa::load(above + k), Isa::load(row + k)));
    }
}

template <class Isa>
[[gnu::always_inline]] inline typename Isa::Vec between(const float* a, const float* b,
                                                        typename Isa::Vec share) {
    const typename Isa::Vec first = Isa::load(a);
    return Isa::multiply_add(share, Isa::sub(Isa::load(b), first), first);
}

template <class Isa>
void strip(const Line& top, const Line& bottom, std::size_t columns, std::size_t dims,
           float* sums) {
    constexpr std::size_t kVecs = kDimMultiple / Isa::kWidth;
    const typename Isa::Vec top_share = Isa::broadcast(top.share);
    const typename Isa::Vec bottom_share = Isa::broadcast(bottom.share);
    for (std::size_t k = 0; k < dims; k += kDimMultiple) {
        typename Isa::Vec running[kVecs];
#pragma GCC unroll 16
        for (std::size_t v = 0; v < kVecs; ++v) {
            running[v] = Isa::zero();
            Isa::store(sums + k + v * Isa::kWidth, running[v]);
        }
        std::size_t at = k;
        for (std::size_t x = 0; x < columns; ++x, at += dims) {
#pragma GCC unroll 16
            for (std::size_t v = 0; v < kVecs; ++v) {
                const std::size_t i = at + v * Isa::kWidth;
                const typename Isa::Vec low =
                    between<Isa>(bottom.above + i, bottom.below + i, bottom_share);
                const typename Isa::Vec high =
                    between<Isa>(top.above + i, top.below + i, top_share);
                running[v] = Isa::add(running[v], Isa::sub(low, high));
                Isa::store(sums + i + dims, running[v]);
            }
        }
    }
}

template <class Isa>
[[gnu::always_inline]] inline typename Isa::Vec segment_sum(const float* from, const float* to,
                                                            std::size_t dims,
                                                            typename Isa::Vec from_share,
                                                            typename Isa::Vec to_share) {
    return Isa::sub(between<Isa>(to, to + dims, to_share),
                    between<Isa>(from, from + dims, from_share));
}

// kDims is the number of dimensions where it is known (the vector then stays in registers), or 0.
template <class Isa, std::size_t kDims>
void unit_sums_of(const float* sums, std::size_t any_dims, const Segment* segments,
                  std::size_t count, float* out) {
    const std::size_t dims = kDims > 0 ? kDims : any_dims;
    for (std::size_t s = 0; s < count; ++s, out += dims) {
        const Segment& segment = segments[s];
        const float* from = sums + segment.from * dims;
        const float* to = sums + segment.to * dims;
        const typename Isa::Vec from_share = Isa::broadcast(segment.from_share);
        const typename Isa::Vec to_share = Isa::broadcast(segment.to_share);
        typename Isa::Vec squares = Isa::zero();
        if constexpr (kDims > 0) {
            constexpr std::size_t kVecs = kDims / Isa::kWidth;
            typename Isa::Vec value[kVecs];
#pragma GCC unroll 64
            for (std::size_t v = 0; v < kVecs; ++v) {
                const std::size_t k = v * Isa::kWidth;
                value[v] = segment_sum<Isa>(from + k, to + k, dims, from_share, to_share);
                squares = Isa::multiply_add(value[v], value[v], squares);
            }
            const typename Isa::Vec scale =
                Isa::broadcast(1.0F / larger(std::sqrt(Isa::sum(squares)), segment.least));
#pragma GCC unroll 64
            for (std::size_t v = 0; v < kVecs; ++v) {
                Isa::store(out + v * Isa::kWidth, Isa::mul(value[v], scale));
            }
        } else {
            for (std::size_t k = 0; k < dims; k += Isa::kWidth) {
                const typename Isa::Vec value =
                    segment_sum<Isa>(from + k, to + k, dims, from_share, to_share);
                squares = Isa::multiply_add(value, value, squares);
                Isa::store(out + k, value);
            }
            const typename Isa::Vec scale =
                Isa::broadcast(1.0F / larger(std::sqrt(Isa::sum(squares)), segment.least));
            for (std::size_t k = 0; k < dims; k += Isa::kWidth) {
                Isa::store(out + k, Isa::mul(Isa::load(out + k), scale));
            }
        }
    }
}

inline constexpr std::size_t kUsualDims = 64;  // of product-quantised cells

template <class Isa>
void unit_sums(const float* sums, std::size_t dims, const Segment* segments, std::size_t count,
               float* out) {
    if (dims == kUsualDims) {
        unit_sums_of<Isa, kUsualDims>(sums, dims, segments, count, out);
    } else {
        unit_sums_of<Isa, 0>(sums, dims, segments, count, out);
    }
}

// Two accumulators a box hide the latency of the multiply-adds.
template <class Isa>
void products(const float* const* rows, std::size_t row_count, std::size_t length,
              std::size_t step, std::size_t boxes, const float* weights, float* out) {
    constexpr std::size_t kStride = 2 * Isa::kWidth;
    for (std::size_t first = 0; first < boxes; first += kProductBoxes) {
        typename Isa::Vec acc[kProductBoxes][2];
#pragma GCC unroll 8
        for (std::size_t b = 0; b < kProductBoxes; ++b) acc[b][0] = acc[b][1] = Isa::zero();
        const float* weight = weights;
        for (std::size_t r = 0; r < row_count; ++r, weight += length) {
            const float* box[kProductBoxes];
#pragma GCC unroll 8
            for (std::size_t b = 0; b < kProductBoxes; ++b) {
                // The last box stands in for those that are missing.
                box[b] = rows[r] + smaller(first + b, boxes - 1) * step;
            }
            std::size_t k = 0;
            for (; k + kStride <= length; k += kStride) {
                const typename Isa::Vec even = Isa::load(weight + k);
                const typename Isa::Vec odd = Isa::load(weight + k + Isa::kWidth);
#pragma GCC unroll 8
                for (std::size_t b = 0; b < kProductBoxes; ++b) {
                    acc[b][0] = Isa::multiply_add(even, Isa::load(box[b] + k), acc[b][0]);
                    acc[b][1] =
                        Isa::multiply_add(odd, Isa::load(box[b] + k + Isa::kWidth), acc[b][1]);
                }
            }
            for (; k < length; k += Isa::kWidth) {
                const typename Isa::Vec even = Isa::load(weight + k);
#pragma GCC unroll 8
                for (std::size_t b = 0; b < kProductBoxes; ++b) {
                    acc[b][0] = Isa::multiply_add(even, Isa::load(box[b] + k), acc[b][0]);
                }
            }
        }
#pragma GCC unroll 8
        for (std::size_t b = 0; b < kProductBoxes; ++b) {
            if (first + b < boxes) out[first + b] = Isa::sum(Isa::add(acc[b][0], acc[b][1]));
        }
    }
}

// A register tile: the products of kTileCells cells with kTileVecs registers of G.
template <class Isa>
[[gnu::always_inline]] inline void match_tile(const float* const* cell, const float* panel,
                                              std::size_t dims, typename Isa::Vec* best) {
    constexpr std::size_t kCells = Isa::kTileCells, kVecs = Isa::kTileVecs;
    typename Isa::Vec acc[kCells][kVecs];
#pragma GCC unroll 16
    for (std::size_t c = 0; c < kCells; ++c) {
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kVecs; ++v) acc[c][v] = Isa::zero();
    }
    for (std::size_t k = 0; k < dims; ++k, panel += kVecs * Isa::kWidth) {
        typename Isa::Vec column[kVecs];
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kVecs; ++v) column[v] = Isa::load(panel + v * Isa::kWidth);
#pragma GCC unroll 16
        for (std::size_t c = 0; c < kCells; ++c) {
            const typename Isa::Vec value = Isa::broadcast(cell[c][k]);
#pragma GCC unroll 4
            for (std::size_t v = 0; v < kVecs; ++v) {
                acc[c][v] = Isa::multiply_add(value, column[v], acc[c][v]);
            }
        }
    }
#pragma GCC unroll 16
    for (std::size_t c = 0; c < kCells; ++c) {
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kVecs; ++v) best[c] = Isa::max(best[c], acc[c][v]);
    }
}

template <class Isa>
void best_match(const float* cells, std::size_t count, std::size_t dims, const float* panels,
                std::size_t panel_count, float* best) {
    constexpr std::size_t kCells = Isa::kTileCells;
    const std::size_t panel_size = dims * Isa::kTileVecs * Isa::kWidth;
    for (std::size_t first = 0; first < count; first += kCells) {
        const float* cell[kCells];
        typename Isa::Vec highest[kCells];
        for (std::size_t c = 0; c < kCells; ++c) {
            cell[c] = cells + smaller(first + c, count - 1) * dims;
            highest[c] = Isa::broadcast(-HUGE_VALF);
        }
        for (std::size_t p = 0; p < panel_count; ++p) {
            match_tile<Isa>(cell, panels + p * panel_size, dims, highest);
        }
        for (std::size_t c = 0; c < kCells && first + c < count; ++c) {
            best[first + c] = Isa::highest(highest[c]);
        }
    }
}

template <class Isa>
float best_overlap(const RegionColumns& regions, float x0, float x1, float area) {
    const typename Isa::Vec left = Isa::broadcast(x0), right = Isa::broadcast(x1);
    const typename Isa::Vec own = Isa::broadcast(area);
    typename Isa::Vec best = Isa::zero();
    for (std::size_t r = 0; r < regions.count; r += Isa::kWidth) {
        const typename Isa::Vec width =
            Isa::max(Isa::sub(Isa::min(right, Isa::load(regions.x1 + r)),
                              Isa::max(left, Isa::load(regions.x0 + r))),
                     Isa::zero());
        const typename Isa::Vec shared = Isa::mul(width, Isa::load(regions.overlap + r));
        const typename Isa::Vec either =
            Isa::sub(Isa::add(own, Isa::load(regions.area + r)), shared);
        best = Isa::max(best, Isa::div(shared, either));
    }
    return Isa::highest(best);
}

template <class Isa>
constexpr BoxKernels box_kernels_of() {
    static_assert(kDimMultiple % Isa::kWidth == 0 && kRegionMultiple % Isa::kWidth == 0);
    return {Isa::kTileVecs * Isa::kWidth,
            &add_row<Isa>,
            &strip<Isa>,
            &unit_sums<Isa>,
            &products<Isa>,
            &best_match<Isa>,
            &best_overlap<Isa>};
}

}  // namespace
}  // namespace claid

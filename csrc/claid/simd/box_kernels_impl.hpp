// The box search's kernels, written once over an instruction set's vectors. Each level's file
// defines a struct Isa with them and includes this.
//
//   Isa::Vec   a register of kWidth float32
//   load, store, broadcast, zero, add, sub, mul, div, min, max, sqrt, sum, highest
//   multiply_add(a, b, c) = a b + c
#pragma once

#include <cmath>
#include <cstddef>

#include "claid/simd/box_kernels.hpp"

namespace claid {
namespace {

// Not std::min: a copy that is not inlined, compiled for this level, could stand in for
// everybody's when the program is linked.
template <class T>
[[gnu::always_inline]] inline T smaller(T a, T b) {
    return a < b ? a : b;
}
template <class Isa>
void add_row(const float* above, const float* row, std::size_t count, float* sum) {
    for (std::size_t k = 0; k < count; k += Isa::kWidth) {
        Isa::store(sum + k, Isa::add(Isa::load(above + k), Isa::load(row + k)));
    }
}

template <class Isa>
float dot(const float* a, const float* b, std::size_t dims) {
    typename Isa::Vec sum = Isa::zero();
    for (std::size_t k = 0; k < dims; k += Isa::kWidth) {
        sum = Isa::multiply_add(Isa::load(a + k), Isa::load(b + k), sum);
    }
    return Isa::sum(sum);
}

template <class Isa>
[[gnu::always_inline]] inline typename Isa::Vec between(const float* a, const float* b,
                                                        typename Isa::Vec share) {
    const typename Isa::Vec first = Isa::load(a);
    return Isa::multiply_add(share, Isa::sub(Isa::load(b), first), first);
}

// Dimensions are walked through in chunks of this many: all of a product-quantised cell.
inline constexpr std::size_t kChunk = 64;

// Calls body.operator()<registers>(first dimension) for each chunk, and for what is left.
template <class Isa, class Body>
[[gnu::always_inline]] inline void for_each_chunk(std::size_t dims, Body body) {
    constexpr std::size_t kLeft = kDimMultiple / Isa::kWidth;
    std::size_t k = 0;
    for (; k + kChunk <= dims; k += kChunk) {
        body.template operator()<kChunk / Isa::kWidth>(k);
    }
    for (; k < dims; k += kDimMultiple) body.template operator()<kLeft>(k);
}

template <class Isa>
void strip(const Line& top, const Line& bottom, std::size_t columns, std::size_t dims,
           float* sums) {
    using Vec = typename Isa::Vec;
    const Vec top_share = Isa::broadcast(top.share), bottom_share = Isa::broadcast(bottom.share);
    for_each_chunk<Isa>(dims, [&]<std::size_t kVecs>(std::size_t k) {
        Vec running[kVecs];
#pragma GCC unroll 16
        for (std::size_t v = 0; v < kVecs; ++v) {
            running[v] = Isa::zero();
            Isa::store(sums + k + v * Isa::kWidth, running[v]);
        }
        for (std::size_t x = 0; x < columns; ++x) {
            const std::size_t at = x * dims + k;
#pragma GCC unroll 16
            for (std::size_t v = 0; v < kVecs; ++v) {
                const std::size_t i = at + v * Isa::kWidth;
                const Vec low = between<Isa>(bottom.above + i, bottom.below + i, bottom_share);
                const Vec high = between<Isa>(top.above + i, top.below + i, top_share);
                running[v] = Isa::add(running[v], Isa::sub(low, high));
                Isa::store(sums + i + dims, running[v]);
            }
        }
    });
}

template <class Isa>
void part_sums(const float* sums, std::size_t dims, const Edge* edges, std::size_t count,
               const float* least, float* out, float* scales) {
    using Vec = typename Isa::Vec;
    Vec squares[kMostEdges];
    for (std::size_t e = 0; e < count; ++e) squares[e] = Isa::zero();
    for_each_chunk<Isa>(dims, [&]<std::size_t kVecs>(std::size_t k) {
        // The running sums at the last edge.
        Vec last[kVecs];
        const float* first = sums + edges[0].column * dims + k;
        const Vec first_share = Isa::broadcast(edges[0].share);
#pragma GCC unroll 16
        for (std::size_t v = 0; v < kVecs; ++v) {
            const std::size_t i = v * Isa::kWidth;
            last[v] = between<Isa>(first + i, first + i + dims, first_share);
        }
        float* to = out + k;
        for (std::size_t e = 1; e < count; ++e, to += dims) {
            const float* at = sums + edges[e].column * dims + k;
            const Vec share = Isa::broadcast(edges[e].share);
            Vec square = squares[e - 1];
#pragma GCC unroll 16
            for (std::size_t v = 0; v < kVecs; ++v) {
                const std::size_t i = v * Isa::kWidth;
                const Vec value = between<Isa>(at + i, at + i + dims, share);
                const Vec sum = Isa::sub(value, last[v]);
                square = Isa::multiply_add(sum, sum, square);
                Isa::store(to + i, sum);
                last[v] = value;
            }
            squares[e - 1] = square;
        }
    });
    const std::size_t part_count = count - 1;
    for (std::size_t e = 0; e < part_count; ++e) scales[e] = Isa::sum(squares[e]);
    for (std::size_t e = part_count; e % Isa::kWidth != 0; ++e) scales[e] = 0.0F;
    for (std::size_t e = 0; e < part_count; e += Isa::kWidth) {
        const Vec length = Isa::max(Isa::sqrt(Isa::load(scales + e)), Isa::load(least + e));
        Isa::store(scales + e, Isa::div(Isa::broadcast(1.0F), length));
    }
}

// Two accumulators a box hide the latency of the multiply-adds.
template <class Isa>
void products(const PartRow* rows, std::size_t row_count, std::size_t parts, std::size_t dims,
              std::size_t step, std::size_t boxes, const float* weights, float* out) {
    using Vec = typename Isa::Vec;
    constexpr std::size_t kStride = 2 * Isa::kWidth;
    for (std::size_t first = 0; first < boxes; first += kProductBoxes) {
        std::size_t part[kProductBoxes];
        Vec total[kProductBoxes];
#pragma GCC unroll 8
        for (std::size_t b = 0; b < kProductBoxes; ++b) {
            // The last box stands in for those that are missing.
            part[b] = smaller(first + b, boxes - 1) * step;
            total[b] = Isa::zero();
        }
        const float* weight = weights;
        for (std::size_t r = 0; r < row_count; ++r) {
            for (std::size_t c = 0; c < parts; ++c, weight += dims) {
                const float* sum[kProductBoxes];
                Vec even[kProductBoxes], odd[kProductBoxes];
#pragma GCC unroll 8
                for (std::size_t b = 0; b < kProductBoxes; ++b) {
                    sum[b] = rows[r].sums + (part[b] + c) * dims;
                    even[b] = odd[b] = Isa::zero();
                }
                std::size_t k = 0;
                for (; k + kStride <= dims; k += kStride) {
                    const Vec low = Isa::load(weight + k);
                    const Vec high = Isa::load(weight + k + Isa::kWidth);
#pragma GCC unroll 8
                    for (std::size_t b = 0; b < kProductBoxes; ++b) {
                        even[b] = Isa::multiply_add(low, Isa::load(sum[b] + k), even[b]);
                        odd[b] =
                            Isa::multiply_add(high, Isa::load(sum[b] + k + Isa::kWidth), odd[b]);
                    }
                }
                for (; k < dims; k += Isa::kWidth) {
                    const Vec low = Isa::load(weight + k);
#pragma GCC unroll 8
                    for (std::size_t b = 0; b < kProductBoxes; ++b) {
                        even[b] = Isa::multiply_add(low, Isa::load(sum[b] + k), even[b]);
                    }
                }
#pragma GCC unroll 8
                for (std::size_t b = 0; b < kProductBoxes; ++b) {
                    const Vec scale = Isa::broadcast(rows[r].scales[part[b] + c]);
                    total[b] = Isa::multiply_add(scale, Isa::add(even[b], odd[b]), total[b]);
                }
            }
        }
#pragma GCC unroll 8
        for (std::size_t b = 0; b < kProductBoxes; ++b) {
            if (first + b < boxes) out[first + b] = Isa::sum(total[b]);
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
    static_assert(kMostEdges % Isa::kWidth == 0);
    return {&add_row<Isa>,   &dot<Isa>,      &strip<Isa>,
            &part_sums<Isa>, &products<Isa>, &best_overlap<Isa>};
}

}  // namespace
}  // namespace claid

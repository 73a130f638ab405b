#include "claid/box_maps.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace claid {
namespace {

template <class T>
void grow(AlignedArray<T>& array, std::size_t size) {
    if (array.size() < size) array = AlignedArray<T>(size);
}

constexpr double kLongestRow = 32767.0;  // of int16

using Float4 = float __attribute__((vector_size(16)));

Float4 load4(const float* from) {
    Float4 v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

// Dimension d is entry d / kSubspaces of the centroid of subspace d mod kSubspaces: blocks of four
// subspaces are transposed.
void decode_cell(const std::uint8_t* codes, const float* codebook, float* out) {
    for (std::size_t s = 0; s < kSubspaces; s += 4) {
        const auto centroid = [&](std::size_t i) {
            return load4(codebook + ((s + i) * kCentroids + codes[s + i]) * kSubspaceDims);
        };
        const Float4 a = centroid(0), b = centroid(1), c = centroid(2), d = centroid(3);
        const Float4 ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
        const Float4 ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
        const Float4 cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
        const Float4 cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
        const Float4 rows[kSubspaceDims] = {__builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5),
                                            __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
                                            __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5),
                                            __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)};
        for (std::size_t j = 0; j < kSubspaceDims; ++j) {
            std::memcpy(out + j * kSubspaces + s, &rows[j], sizeof rows[j]);
        }
    }
}

// IEEE float16 to float32, for finite values: the exponent's bias is changed by a product, which
// is exact for denormals too.
float widen(std::uint16_t half) {
    constexpr int kMantissaBits = 23 - 10;
    constexpr float kBias = 0x1p112F;  // 127 - 15
    const std::uint32_t magnitude = (half & 0x7FFFU) << kMantissaBits;
    const std::uint32_t sign = (half & 0x8000U) << 16U;
    return std::bit_cast<float>(
        std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) * kBias) | sign);
}

static_assert(kMostQueryCells == std::size_t{1} << kMatchBits);

struct Decode {
    std::size_t count, dims, padded;
    float* out;

    void operator()(const CodedCells& cells) const {
        for (std::size_t i = 0; i < count; ++i) {
            decode_cell(cells.codes + i * kSubspaces, cells.codebook, out + i * padded);
        }
    }
    void operator()(const HalfCells& cells) const {
        each_cell([&](std::size_t i, float* to) {
            std::transform(cells.values + i * dims, cells.values + (i + 1) * dims, to, &widen);
        });
    }
    void operator()(const FloatCells& cells) const {
        each_cell(
            [&](std::size_t i, float* to) { std::copy_n(cells.values + i * dims, dims, to); });
    }

    template <class Body>
    void each_cell(Body body) const {
        for (std::size_t i = 0; i < count; ++i) {
            body(i, out + i * padded);
            std::fill(out + i * padded + dims, out + (i + 1) * padded, 0.0F);
        }
    }
};

}  // namespace

void DecodedMap::decode(const CellMap& map, const BoxKernels& simd) {
    x_ = Axis(map.cell_width, map.width);
    y_ = Axis(map.cell_height, map.height);
    dims_ = round_up(map.dims, kDimMultiple);
    const std::size_t row = map.width * dims_;
    grow(cells_, map.height * row);
    grow(column_sums_, (map.height + 1) * row);
    std::visit(Decode{map.height * map.width, map.dims, dims_, cells_.data()}, map.cells);
    std::fill_n(column_sums_.data(), row, 0.0F);
    for (std::size_t y = 0; y < map.height; ++y) {
        float* above = column_sums_.data() + y * row;
        simd.add_row(above, cells_.data() + y * row, row, above + row);
    }
}

Line DecodedMap::line(Place y, std::size_t column) const {
    const std::size_t row = x_.cells * dims_;
    const float* above = column_sums_.data() + y.cell * row + column * dims_;
    return {above, above + row, static_cast<float>(y.share)};
}

void MatchCells::quantise(const float* cells, std::size_t count, std::size_t dims, bool repeat,
                          const Kernels& simd) {
    const std::size_t padded = round_up(dims, kRowMultiple);
    const std::size_t filled = round_up(count, simd.tile_columns);
    count_ = count;
    pairs_ = padded / 2;
    grow(rows_, filled * padded);
    grow(panels_, filled * padded);
    double longest = 0.0;
    for (std::size_t i = 0; i < count; ++i) {
        longest = std::max(longest, simd.row_norms(cells + i * dims, dims).squared_norm);
    }
    const double scale = longest > 0.0 ? kLongestRow / std::sqrt(longest) : 0.0;
    for (std::size_t i = 0; i < filled; ++i) {
        std::int16_t* to = rows_.data() + i * padded;
        if (i < count || repeat) {
            simd.quantise(cells + std::min(i, count - 1) * dims, dims, scale, to, padded);
        } else {
            std::fill_n(to, padded, std::int16_t{0});
        }
    }
    for (std::size_t i = 0; i < filled; i += simd.tile_columns) {
        simd.pack_panel(rows_.data() + i * padded, padded, pairs_, panels_.data() + i * padded);
    }
}

const std::int16_t* MatchCells::panel(std::size_t cell, const Kernels& simd) const {
    const std::size_t in_panel = cell % simd.tile_columns;
    return panels_.data() + (cell - in_panel) * 2 * pairs_ + 2 * in_panel;
}

void MatchMap::match(const DecodedMap& e16, const QueryCells& query, const SimdLevel& level) {
    const Kernels& simd = *level.kernels;
    const std::size_t height = e16.y().cells, count = e16.cell_count(), dims = e16.dims();
    width_ = e16.x().cells;
    grow(best_, round_up(count, simd.tile_columns));
    grow(integral_, (height + 1) * (width_ + 1));
    const bool any = query.quantised.count() > 0;
    if (any) cells_.quantise(e16.cells(), count, dims, false, simd);
    for (std::size_t c = 0; any && c < count; c += simd.tile_columns) {
        std::int32_t* best = best_.data() + c;
        std::fill_n(best, simd.tile_columns, std::numeric_limits<std::int32_t>::min());
        for (std::size_t g = 0; g < query.quantised.count(); g += simd.tile_rows) {
            simd.match_tile(query.quantised.panel(g, simd), cells_.panel(c, simd), cells_.pairs(),
                            static_cast<std::int32_t>(g), best);
        }
    }
    const auto m = [&](std::size_t i) -> double {
        if (!any) return 0.0;
        // A number beyond the last stands for the last.
        const auto g =
            std::min(static_cast<std::size_t>(best_[i] & kMatchMask), query.quantised.count() - 1);
        return static_cast<double>(
            level.box_kernels->dot(e16.cells() + i * dims, query.values.data() + g * dims, dims));
    };
    double* above = integral_.data();
    std::fill_n(above, width_ + 1, 0.0);
    for (std::size_t y = 0; y < height; ++y) {
        double* here = above + width_ + 1;
        double in_row = 0.0;
        here[0] = 0.0;
        for (std::size_t x = 0; x < width_; ++x) {
            in_row += m(y * width_ + x);
            here[x + 1] = above[x + 1] + in_row;
        }
        above = here;
    }
}

void MatchMap::line(Place y, std::size_t first, std::size_t count, double* out) const {
    const double* above = integral_.data() + y.cell * (width_ + 1) + first;
    const double* below = above + width_ + 1;
    for (std::size_t i = 0; i < count; ++i) out[i] = above[i] + y.share * (below[i] - above[i]);
}

}  // namespace claid

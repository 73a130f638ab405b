#include "claid/box_maps.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace claid {
namespace {

template <class T>
void grow(AlignedArray<T>& array, std::size_t size) {
    if (array.size() < size) array = AlignedArray<T>(size);
}

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
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(
                                    std::bit_cast<float>(magnitude) * kBias) |
                                sign);
}

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
        each_cell([&](std::size_t i, float* to) {
            std::copy_n(cells.values + i * dims, dims, to);
        });
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

double in_cells(double pixels, double cell_size, std::size_t cells) {
    return std::clamp(pixels / cell_size, 0.0, static_cast<double>(cells));
}

Place place_of(double coordinate, std::size_t cells) {
    const std::size_t cell = std::min(static_cast<std::size_t>(coordinate), cells - 1);
    return {cell, coordinate - static_cast<double>(cell)};
}

void DecodedMap::decode(const CellMap& map, const BoxKernels& simd) {
    map_ = map;
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
    const std::size_t row = map_.width * dims_;
    const float* above = column_sums_.data() + y.cell * row + column * dims_;
    return {above, above + row, static_cast<float>(y.share)};
}

void MatchMap::match(const DecodedMap& e16, const float* panels, std::size_t panel_count,
                     const BoxKernels& simd) {
    const std::size_t height = e16.map().height;
    width_ = e16.map().width;
    grow(best_, height * width_);
    grow(integral_, (height + 1) * (width_ + 1));
    if (panel_count > 0) {
        simd.best_match(e16.cells(), e16.cell_count(), e16.dims(), panels, panel_count,
                        best_.data());
    } else {
        std::fill_n(best_.data(), e16.cell_count(), 0.0F);
    }
    double* above = integral_.data();
    std::fill_n(above, width_ + 1, 0.0);
    for (std::size_t y = 0; y < height; ++y) {
        double* here = above + width_ + 1;
        double in_row = 0.0;
        here[0] = 0.0;
        for (std::size_t x = 0; x < width_; ++x) {
            in_row += static_cast<double>(best_[y * width_ + x]);
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

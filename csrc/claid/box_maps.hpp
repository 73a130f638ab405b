// A photo's maps, decoded and summed up.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "claid/box_types.hpp"
#include "claid/memory.hpp"
#include "claid/simd/dispatch.hpp"

namespace claid {

// Along one axis: between which two cells, and how far from the first to the second.
struct Place {
    std::size_t cell;
    double share;  // 0 to 1
};

// The cells of a map along one axis.
struct Axis {
    double cells_per_pixel = 1.0;
    std::size_t cells = 1;

    Axis() = default;
    Axis(double cell_size, std::size_t count) : cells_per_pixel(1.0 / cell_size), cells(count) {}

    // From 0 to `cells`: what lies beyond the map is on its border.
    [[nodiscard]] double coordinate(double pixels) const {
        return std::clamp(pixels * cells_per_pixel, 0.0, static_cast<double>(cells));
    }
    [[nodiscard]] Place place(double coordinate) const {
        // By way of a signed integer, which is one instruction.
        const auto whole = static_cast<std::size_t>(static_cast<std::int64_t>(coordinate));
        const std::size_t cell = std::min(whole, cells - 1);
        return {cell, coordinate - static_cast<double>(cell)};
    }
};

// One map as float32, dimensions padded with zeros, and its sums down each column of cells: row y
// of `column_sums` is the sum of the rows above y. Sums of one direction stay small enough for
// float32; those of a whole integral image would not (a part of a box may be a ninth of a cell).
class DecodedMap {
  public:
    void decode(const CellMap& map, const BoxKernels& simd);

    [[nodiscard]] const Axis& x() const { return x_; }
    [[nodiscard]] const Axis& y() const { return y_; }
    [[nodiscard]] std::size_t dims() const { return dims_; }
    [[nodiscard]] std::size_t cell_count() const { return x_.cells * y_.cells; }
    [[nodiscard]] const float* cells() const { return cells_.data(); }

    // The line at a place of the y axis, from a column on.
    [[nodiscard]] Line line(Place y, std::size_t column) const;

  private:
    Axis x_, y_;
    std::size_t dims_ = 0;
    AlignedArray<float> cells_;        // [h, w, dims]
    AlignedArray<float> column_sums_;  // [h + 1, w, dims]
};

// Cells as int16, interleaved for the kernels' tiles. One scale for all brings the longest to
// 32767, so that no sum of products leaves int32 (Cauchy-Schwarz), as for detect.
class MatchCells {
  public:
    // `repeat`: the last cell fills the last panel, instead of zeros.
    void quantise(const float* cells, std::size_t count, std::size_t dims, bool repeat,
                  const Kernels& simd);

    [[nodiscard]] std::size_t count() const { return count_; }
    [[nodiscard]] std::size_t pairs() const { return pairs_; }
    // From a cell on, within its panel.
    [[nodiscard]] const std::int16_t* panel(std::size_t cell, const Kernels& simd) const;

  private:
    std::size_t count_ = 0, pairs_ = 0;
    AlignedArray<std::int16_t> rows_, panels_;
};

// G, the query's cells.
struct QueryCells {
    AlignedArray<float> values;  // [count, dims], padded
    MatchCells quantised;
};

// How well each cell fits the query's best cell, m(x), as an integral image. The best is chosen in
// int16, which may take one for another where they differ by some 1e-5; m is its product in
// float32.
class MatchMap {
  public:
    void match(const DecodedMap& e16, const QueryCells& query, const SimdLevel& level);

    // The sum of m over what lies above y and left of x, for a range of columns: out[i] is at
    // column first + i.
    void line(Place y, std::size_t first, std::size_t count, double* out) const;

  private:
    std::size_t width_ = 0;
    MatchCells cells_;
    AlignedArray<std::int32_t> best_;  // [h, w], padded
    AlignedArray<double> integral_;    // [h + 1, w + 1]
};

}  // namespace claid

// A photo's maps, decoded and summed up.
#pragma once

#include <cstddef>

#include "claid/box_types.hpp"
#include "claid/memory.hpp"
#include "claid/simd/box_kernels.hpp"

namespace claid {

// Along one axis: between which two cells, and how far from the first to the second.
struct Place {
    std::size_t cell;
    double share;  // 0 to 1
};

// A coordinate in cells, from 0 to `cells`; places beyond the map are on its border.
double in_cells(double pixels, double cell_size, std::size_t cells);
Place place_of(double coordinate, std::size_t cells);

// One map as float32, dimensions padded with zeros, and its sums down each column of cells: row y
// of `column_sums` is the sum of the rows above y. Sums of one direction stay small enough for
// float32; those of a whole integral image would not (a part of a box may be a ninth of a cell).
class DecodedMap {
  public:
    void decode(const CellMap& map, const BoxKernels& simd);

    [[nodiscard]] const CellMap& map() const { return map_; }
    [[nodiscard]] std::size_t dims() const { return dims_; }
    [[nodiscard]] std::size_t cell_count() const { return map_.height * map_.width; }
    [[nodiscard]] const float* cells() const { return cells_.data(); }

    // The line at a place of the y axis, from a column on.
    [[nodiscard]] Line line(Place y, std::size_t column) const;

  private:
    CellMap map_{};
    std::size_t dims_ = 0;
    AlignedArray<float> cells_;        // [h, w, dims]
    AlignedArray<float> column_sums_;  // [h + 1, w, dims]
};

// How well each cell fits the query's best cell, m(x), as an integral image.
class MatchMap {
  public:
    // panels as BoxKernels::best_match wants them.
    void match(const DecodedMap& e16, const float* panels, std::size_t panel_count,
               const BoxKernels& simd);

    // The sum of m over what lies above y and left of x, for a range of columns: out[i] is at
    // column first + i.
    void line(Place y, std::size_t first, std::size_t count, double* out) const;

  private:
    std::size_t width_ = 0;
    AlignedArray<float> best_;       // [h, w]
    AlignedArray<double> integral_;  // [h + 1, w + 1]
};

}  // namespace claid

// Which boxes are scored: a coarse grid, the stored regions, and boxes around the best.
#pragma once

#include <vector>

#include "claid/box_types.hpp"

namespace claid {

// Boxes in rows and columns: those of a row share their y, those of a column their x. Row by row
// they are boxes[first] .. boxes[first + columns * rows - 1].
struct BoxGrid {
    std::size_t first, columns, rows;
    // Each begins where two thirds of the one before end, so that they share a third.
    bool chained_columns, chained_rows;

    [[nodiscard]] std::size_t count() const { return columns * rows; }
};

struct BoxList {
    std::vector<Box> boxes;
    std::vector<BoxGrid> grids;
};

// Step 1: sizes from options.smallest_side on, each sqrt(2) times the last, up to the photo's; for
// each the three aspect ratios; for each a grid that is centred in the photo.
void add_coarse_grid(const PhotoMaps& photo, double aspect, const BoxSearchOptions& options,
                     BoxList& list);

// The stored regions, clipped to the photo.
void add_regions(const PhotoMaps& photo, BoxList& list);

// Step 2: 9 shifts times 7 scalings of a box, clipped to the photo. In order of the scaling of y,
// the shift of y, the scaling of x, the shift of x. `step` is 1, or 0.5 for half the steps.
void add_refined(const PhotoMaps& photo, const Box& seed, const BoxSearchOptions& options,
                 double step, BoxList& list);

double iou(const Box& a, const Box& b);

}  // namespace claid

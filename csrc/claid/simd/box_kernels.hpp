// The inner loops of the box search, one table a SIMD level. Float sums: levels agree closely, not
// bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>

namespace claid {

// Dimensions of a cell are padded with zeros to a multiple of this, whole vectors at every level.
inline constexpr std::size_t kDimMultiple = 16;

// Stored regions are padded to a multiple of this many.
inline constexpr std::size_t kRegionMultiple = 16;

// Boxes that `products` takes at a time, so that they share the loads of a template.
inline constexpr std::size_t kProductBoxes = 4;

// Two neighbouring rows of column sums, and where between them a line of a box runs.
struct Line {
    const float* above;  // [w, dims]
    const float* below;  // [w, dims]
    float share;         // of below, 0 to 1
};

// A part of a box in a strip: the running sum at one place minus that at another.
struct Segment {
    std::uint32_t from, to;       // columns
    float from_share, to_share;   // how far to the next column, 0 to 1
    float least;                  // a shorter sum is divided by this, not by its own length
};

// Stored regions seen from the rows of one pair of y: how much of it they share.
struct RegionColumns {
    const float* x0;        // [count]
    const float* x1;        // [count]
    const float* area;      // [count], 1 where padded
    const float* overlap;   // [count], of the y, 0 where padded
    std::size_t count;      // a multiple of kRegionMultiple
};

struct BoxKernels {
    // `best_match` works on this many cells of G a panel.
    std::size_t panel_columns;

    // sum[k] = above[k] + row[k]
    void (*add_row)(const float* above, const float* row, std::size_t count, float* sum);

    // Running sums along x of what lies between two lines:
    // sums[0] = 0, sums[x + 1] = sums[x] + bottom(x) - top(x); [columns + 1, dims].
    void (*strip)(const Line& top, const Line& bottom, std::size_t columns, std::size_t dims,
                  float* sums);

    // Vectors of the segments of a strip, each divided by its length: [count, dims].
    void (*unit_sums)(const float* sums, std::size_t dims, const Segment* segments,
                      std::size_t count, float* out);

    // out[b] = sum over r of rows[r][b * step ..] . weights[r], `length` floats a row.
    void (*products)(const float* const* rows, std::size_t row_count, std::size_t length,
                     std::size_t step, std::size_t boxes, const float* weights, float* out);

    // best[i] = max over all columns g of all panels of <cell i, g>;
    // panels [panel_count, dims, panel_columns].
    void (*best_match)(const float* cells, std::size_t count, std::size_t dims,
                       const float* panels, std::size_t panel_count, float* best);

    // The highest IoU of a box from x0 to x1 with a region; `area` is the box's.
    float (*best_overlap)(const RegionColumns& regions, float x0, float x1, float area);
};

const BoxKernels* scalar_box_kernels();
const BoxKernels* avx2_box_kernels();
const BoxKernels* avx512_box_kernels();
const BoxKernels* neon_box_kernels();

}  // namespace claid

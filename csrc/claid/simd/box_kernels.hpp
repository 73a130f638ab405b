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

// A line of a box: it runs between two rows of column sums.
struct Line {
    const float* above;  // [w, dims]
    const float* below;  // [w, dims]
    float share;         // of below, 0 to 1
};

// An edge of a part of a box in a strip.
struct Edge {
    std::uint32_t column;
    float share;  // how far to the next column, 0 to 1
};

// `part_sums` takes at most this many edges; what it writes per part is padded to as many.
inline constexpr std::size_t kMostEdges = 32;

// Parts of the boxes of a block in one strip.
struct PartRow {
    const float* sums;    // [parts, dims]
    const float* scales;  // [parts], one over the length of the sum
};

// Stored regions seen from the rows of one pair of y: how much of it they share.
struct RegionColumns {
    const float* x0;       // [count]
    const float* x1;       // [count]
    const float* area;     // [count], 1 where padded
    const float* overlap;  // [count], of the y, 0 where padded
    std::size_t count;     // a multiple of kRegionMultiple
};

struct BoxKernels {
    // sum[k] = above[k] + row[k]
    void (*add_row)(const float* above, const float* row, std::size_t count, float* sum);

    float (*dot)(const float* a, const float* b, std::size_t dims);

    // Running sums along x of what lies between two lines:
    // sums[0] = 0, sums[x + 1] = sums[x] + bottom(x) - top(x); [columns + 1, dims].
    void (*strip)(const Line& top, const Line& bottom, std::size_t columns, std::size_t dims,
                  float* sums);

    // The sums of a strip between each edge and the next, [count - 1, dims], and one over their
    // lengths, or over least[part] where they are shorter.
    void (*part_sums)(const float* sums, std::size_t dims, const Edge* edges, std::size_t count,
                      const float* least, float* out, float* scales);

    // out[b] = sum over the rows r and `parts` parts c of a box of
    // scale(r, b step + c) sum(r, b step + c) . weights[r, c], weights [row_count, parts, dims].
    void (*products)(const PartRow* rows, std::size_t row_count, std::size_t parts,
                     std::size_t dims, std::size_t step, std::size_t boxes, const float* weights,
                     float* out);

    // The highest IoU of a box from x0 to x1 with a region; `area` is the box's.
    float (*best_overlap)(const RegionColumns& regions, float x0, float x1, float area);
};

const BoxKernels* scalar_box_kernels();
const BoxKernels* avx2_box_kernels();
const BoxKernels* avx512_box_kernels();
const BoxKernels* neon_box_kernels();

}  // namespace claid

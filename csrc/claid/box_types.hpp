// What goes into the search for a box in a photo's map, and what comes out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

namespace claid {

// Product-quantised cells: this many subspaces of this many centroids. Dimension d is in subspace
// d mod kSubspaces, so that the subspaces weigh alike.
inline constexpr std::size_t kSubspaces = 16;
inline constexpr std::size_t kCentroids = 256;
inline constexpr std::size_t kSubspaceDims = 4;
inline constexpr std::size_t kCodedDims = kSubspaces * kSubspaceDims;

// A box is compared in this many parts a side.
inline constexpr std::size_t kPartsPerSide = 3;
inline constexpr std::size_t kParts = kPartsPerSide * kPartsPerSide;

// G may hold so many cells: their numbers share an integer with a product (kMatchBits).
inline constexpr std::size_t kMostQueryCells = 4096;

// Aspect ratios, as factors of the query's.
inline constexpr std::size_t kAspects = 3;

// In pixels of the photo; x1 and y1 exclusive.
struct Box {
    double x0, y0, x1, y1;

    [[nodiscard]] double width() const { return x1 - x0; }
    [[nodiscard]] double height() const { return y1 - y0; }
    [[nodiscard]] double area() const { return width() * height(); }
};

struct CodedCells {
    const std::uint8_t* codes;  // [h, w, kSubspaces]
    const float* codebook;      // [kSubspaces, kCentroids, kSubspaceDims]
};
struct HalfCells {
    const std::uint16_t* values;  // [h, w, dims], IEEE float16
};
struct FloatCells {
    const float* values;  // [h, w, dims]
};

// One map of a photo. Cells are of length 1, or 0; the last may hang over the photo's border.
struct CellMap {
    std::variant<CodedCells, HalfCells, FloatCells> cells;
    std::size_t height, width, dims;
    double cell_width, cell_height;  // in pixels of the photo
};

struct PhotoMaps {
    CellMap e16;           // the finer map: parts, G
    CellMap e32;           // the coarser map: means
    double width, height;  // of the photo, in pixels
    const float* regions;  // [region_count, 4], the stored boxes: x0, y0, x1, y1 in pixels
    std::size_t region_count;
};

// Templates of the query at several sizes; the first is of its own size ("native").
struct BoxQuery {
    std::size_t templates;  // at least 1
    std::size_t dims16, dims32;
    const float* parts;  // [templates, kParts, dims16], each of length 1: t_c
    const float* means;  // [templates, dims32], each of length 1: u
    const float* sides;  // [templates], square root of the area in network pixels
    const float* cells;  // [cell_count, dims16], of length 1: G
    std::size_t cell_count;
    double aspect;     // width / height
    double cell_side;  // network pixels a side of an e16 cell
};

// Constants from trials on photos, where they were flat optima.
struct BoxSearchOptions {
    double smallest_side = 1.4;  // square root of the smallest boxes' area, in e16 cells
    double aspects[kAspects] = {0.7, 1.0, 1.41};
    double least_stride = 0.5;      // of the coarse grid, in e16 cells
    double stride_divisor = 1.5;    // the stride is a side over this
    std::size_t seeds = 40;         // boxes refined in the first round
    std::size_t second_seeds = 20;  // and in the second
    std::size_t rounds = 1;         // of refinement, 0 to 2
    double shift = 0.2;             // of a side
    double grow = 1.19;
    double shrink = 0.84;
    double part_weight = 0.5;       // of p, for the native template and for the one of size S
    double mean_weight = 0.25;      // of w, likewise
    double contrast_weight = 0.25;  // of o
    double region_weight = 0.1;     // of the highest IoU with a stored region
    double least_iou = 0.5;         // of boxes that take part in the answer's mean
    double temperature = 0.05;      // of their weights
};

struct FoundBox {
    Box box{};               // the mean of the boxes around the best
    Box best{};              // the best itself
    double score = 0.0;      // s of the best
    double core = 0.0;       // core of the best
    std::vector<Box> boxes;  // every box scored, in order, if they are wanted
    std::vector<double> scores;
    std::size_t coarse = 0;  // how many are of step 1: the grid, then the stored regions
    std::size_t count = 0;   // of all boxes scored
};

}  // namespace claid

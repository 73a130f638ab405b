// Scores of boxes on a photo's maps, a row of them at a time.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "claid/box_grid.hpp"
#include "claid/box_maps.hpp"
#include "claid/box_types.hpp"
#include "claid/memory.hpp"
#include "claid/simd/box_kernels.hpp"

namespace claid {

// The query's templates as the kernels want them, made once for all photos.
//
// The cosines of one vector with two templates are added: that is one product with the sum of the
// templates. So there is one vector per size, native + S.
class PreparedQuery {
  public:
    PreparedQuery(const BoxQuery& query, const BoxKernels& simd);

    [[nodiscard]] double aspect() const { return aspect_; }
    [[nodiscard]] std::size_t dims16() const { return dims16_; }
    [[nodiscard]] std::size_t dims32() const { return dims32_; }
    // Of the S nearest to the square root of a box's area, in e16 cells.
    [[nodiscard]] std::size_t nearest(double side) const;
    [[nodiscard]] const float* parts(std::size_t size) const;  // [kParts, dims16]
    [[nodiscard]] const float* means(std::size_t size) const;  // [dims32]
    [[nodiscard]] const float* panels() const { return panels_.data(); }
    [[nodiscard]] std::size_t panel_count() const { return panel_count_; }

  private:
    double aspect_;
    std::size_t dims16_, dims32_, panel_count_;
    std::vector<double> sides_;  // of the sizes, in e16 cells
    AlignedArray<float> parts_, means_, panels_;
};

struct BoxScore {
    float core;
    float overlap;    // highest IoU with a stored region
    double contrast;  // o, not yet divided by the highest
};

class BoxScorer {
  public:
    BoxScorer(const PreparedQuery& query, const BoxSearchOptions& options, const BoxKernels& simd)
        : query_(query), options_(options), simd_(simd) {}

    // Decodes a photo's maps.
    void start(const PhotoMaps& photo);

    // Scores boxes that share their y into out[0 .. row.count - 1].
    void score(const BoxRow& row, const Box* boxes, BoxScore* out);

  private:
    static constexpr std::size_t kBlock = 8;  // boxes whose parts are in the first cache together
    static constexpr std::size_t kEdges = kPartsPerSide + 1;

    struct Columns {
        std::size_t first, count;
    };

    [[nodiscard]] static Columns columns_of(const CellMap& map, std::span<const Box> boxes);
    void sum_strips(const Box& any);
    void score_block(bool chained, std::span<const Box> boxes, BoxScore* out);
    void add_parts(bool chained, std::span<const Box> boxes);
    void add_means(std::span<const Box> boxes);
    void products_by_size(std::span<const Box> boxes, bool chained, BoxScore* out);
    void contrasts(std::span<const Box> boxes, BoxScore* out) const;
    void see_regions(const Box& any);
    void overlaps(std::span<const Box> boxes, BoxScore* out) const;

    const PreparedQuery& query_;
    const BoxSearchOptions& options_;
    const BoxKernels& simd_;
    const PhotoMaps* photo_ = nullptr;
    DecodedMap e16_, e32_;
    MatchMap match_;
    double match_total_ = 0.0;  // of m over the photo
    double map_area_ = 0.0;     // the photo's, in e16 cells

    Columns columns16_{}, columns32_{};
    double strip_height_[kPartsPerSide] = {};  // in e16 cells
    double row_height_ = 0.0;                  // in e32 cells
    double match_height_ = 0.0;                // in e16 cells
    AlignedArray<float> strips_[kPartsPerSide], strip32_;
    AlignedArray<float> unit_parts_[kPartsPerSide], unit_means_;
    std::vector<Segment> segments_;
    std::vector<double> widths_, match_lines_, match_above_;
    AlignedArray<float> regions_;  // [4, padded count]: x0, x1, area, overlap of the y
    std::size_t region_columns_ = 0;
};

}  // namespace claid

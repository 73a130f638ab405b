// Scores of boxes on a photo's maps, a row of them at a time.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "claid/box_grid.hpp"
#include "claid/box_maps.hpp"
#include "claid/box_types.hpp"
#include "claid/memory.hpp"
#include "claid/simd/dispatch.hpp"

namespace claid {

// The query's templates as the kernels want them, made once for all photos.
//
// The cosines of one vector with two templates are added: that is one product with the sum of the
// templates. So there is one vector per size, native + S.
class PreparedQuery {
  public:
    PreparedQuery(const BoxQuery& query, const Kernels& simd);

    [[nodiscard]] double aspect() const { return aspect_; }
    [[nodiscard]] std::size_t dims16() const { return dims16_; }
    [[nodiscard]] std::size_t dims32() const { return dims32_; }
    // The S nearest to the square root of an area, which is in e16 cells; of two the smaller.
    [[nodiscard]] std::size_t nearest(double area) const;
    [[nodiscard]] const float* parts(std::size_t size) const;         // [kParts, dims16]
    [[nodiscard]] const float* means(std::size_t size) const;         // [dims32]
    [[nodiscard]] const QueryCells& cells() const { return cells_; }  // G

  private:
    double aspect_;
    std::size_t dims16_, dims32_;
    std::vector<double> borders_;  // areas between one size and the next
    AlignedArray<float> parts_, means_;
    QueryCells cells_;
};

struct BoxScore {
    float core;
    float overlap;    // highest IoU with a stored region
    double contrast;  // o, not yet divided by the highest
};

// Boxes are scored in blocks of neighbouring columns, down the rows: the sums over a block's
// columns stay in the first cache, and a row takes over the parts it shares with the one above.
class BoxScorer {
  public:
    BoxScorer(const PreparedQuery& query, const BoxSearchOptions& options, const SimdLevel& level)
        : query_(query), options_(options), level_(level), simd_(*level.box_kernels) {}

    // Decodes a photo's maps.
    void start(const PhotoMaps& photo);

    // Scores the boxes of a grid into out[0 .. grid.count() - 1].
    void score(const BoxGrid& grid, const Box* boxes, BoxScore* out);

  private:
    static constexpr std::size_t kEdgesPerSide = kPartsPerSide + 1;
    static constexpr std::size_t kBlock = kMostEdges / kEdgesPerSide;  // boxes

    // Edges along x of the boxes of a block, on one map.
    struct BlockEdges {
        Edge edges[kMostEdges];
        float widths[kMostEdges];  // from each edge to the next, in cells; no part where negative
        std::size_t count = 0;
        std::size_t first = 0, columns = 0;  // the map's columns between the edges

        void clear() { count = 0; }
        void add(const Axis& axis, double pixels);
        void close();
    };
    // Where a box begins and ends on e16.
    struct BoxSpan {
        double left, right;
        Place from, to;
    };
    struct Parts {
        AlignedArray<float> sums;
        AlignedArray<float> scales;  // [kMostEdges]
    };

    void set_edges(const BoxGrid& grid, std::span<const Box> boxes);
    void sum_parts(const DecodedMap& map, const BlockEdges& block, double top, double bottom,
                   Parts& parts);
    void score_row(const BoxGrid& grid, bool shares_first, std::span<const Box> boxes,
                   BoxScore* out);
    void cores(const BoxGrid& grid, std::span<const Box> boxes, BoxScore* out) const;
    void contrasts(std::span<const Box> boxes, BoxScore* out);
    void overlaps(std::span<const Box> boxes, BoxScore* out);

    const PreparedQuery& query_;
    const BoxSearchOptions& options_;
    const SimdLevel level_;
    const BoxKernels& simd_;
    DecodedMap e16_, e32_;
    MatchMap match_;
    double match_total_ = 0.0;  // of m over the photo
    double map_area_ = 0.0;     // the photo's, in e16 cells

    BlockEdges edges16_, edges32_;
    BoxSpan spans_[kBlock] = {};
    AlignedArray<float> strip_;
    Parts parts16_[kPartsPerSide], means32_;
    std::vector<double> match_above_, match_below_;
    std::span<const float> stored_;  // [region_count, 4]
    AlignedArray<float> regions_;    // [4, padded count]: x0, x1, area, overlap of the y
    std::size_t region_count_ = 0;   // padded
};

}  // namespace claid

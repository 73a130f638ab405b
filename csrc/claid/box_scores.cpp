#include "claid/box_scores.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace claid {
namespace {

// Shorter means of unit cells say nothing but rounding: they count as if they were this long.
constexpr double kLeastMean = 0.01;
// And sums of no cells at all are zeros, divided by this.
constexpr float kLeastLength = 1e-30F;

// A box that is the whole photo, but for rounding, has no outside: a (1 - a) is not above this.
constexpr double kLeastShare = 1e-9;

template <class T>
void grow(AlignedArray<T>& array, std::size_t size) {
    if (array.size() < size) array = AlignedArray<T>(size);
}

// Edge j of the kPartsPerSide parts of a side; the last is `to` itself, not a rounding beyond it.
double edge(double from, double to, std::size_t j) {
    if (j == kPartsPerSide) return to;
    return from + (to - from) * static_cast<double>(j) / static_cast<double>(kPartsPerSide);
}

}  // namespace

PreparedQuery::PreparedQuery(const BoxQuery& query, const Kernels& simd)
    : aspect_(query.aspect),
      dims16_(round_up(query.dims16, kDimMultiple)),
      dims32_(round_up(query.dims32, kDimMultiple)) {
    // Where there is no other size, the native template stands for it as well.
    const std::size_t first = query.templates > 1 ? 1 : 0;
    const std::size_t sizes = query.templates - first;
    parts_ = AlignedArray<float>(sizes * kParts * dims16_);
    means_ = AlignedArray<float>(sizes * dims32_);
    const auto add = [](const float* native, const float* other, std::size_t rows, std::size_t dims,
                        std::size_t padded, float* out) {
        for (std::size_t r = 0; r < rows; ++r, native += dims, other += dims, out += padded) {
            for (std::size_t k = 0; k < padded; ++k) out[k] = k < dims ? native[k] + other[k] : 0;
        }
    };
    for (std::size_t s = 0; s < sizes; ++s) {
        const std::size_t t = first + s;
        if (s > 0) {
            const double border =
                (static_cast<double>(query.sides[t - 1]) + static_cast<double>(query.sides[t])) /
                2.0 / query.cell_side;
            borders_.push_back(border * border);
        }
        add(query.parts, query.parts + t * kParts * query.dims16, kParts, query.dims16, dims16_,
            parts_.data() + s * kParts * dims16_);
        add(query.means, query.means + t * query.dims32, 1, query.dims32, dims32_,
            means_.data() + s * dims32_);
    }
    if (query.cell_count == 0) return;
    cells_.values = AlignedArray<float>(query.cell_count * dims16_);
    for (std::size_t i = 0; i < query.cell_count * dims16_; ++i) {
        const std::size_t g = i / dims16_, k = i % dims16_;
        cells_.values[i] = k < query.dims16 ? query.cells[g * query.dims16 + k] : 0.0F;
    }
    // Where a tile is not full, the last cell fills it: it is there already, so that no maximum
    // changes.
    cells_.quantised.quantise(cells_.values.data(), query.cell_count, dims16_, true, simd);
}

std::size_t PreparedQuery::nearest(double area) const {
    std::size_t size = 0;
    while (size < borders_.size() && area > borders_[size]) ++size;
    return size;
}

const float* PreparedQuery::parts(std::size_t size) const {
    return parts_.data() + size * kParts * dims16_;
}

const float* PreparedQuery::means(std::size_t size) const { return means_.data() + size * dims32_; }

void BoxScorer::start(const PhotoMaps& photo) {
    e16_.decode(photo.e16, simd_);
    e32_.decode(photo.e32, simd_);
    match_.match(e16_, query_.cells(), level_);
    const Axis &x = e16_.x(), &y = e16_.y();
    const double right = x.coordinate(photo.width), bottom = y.coordinate(photo.height);
    map_area_ = right * bottom;
    match_above_.resize(x.cells + 1);
    match_below_.resize(x.cells + 1);
    match_.line(y.place(bottom), 0, x.cells + 1, match_below_.data());
    const Place end = x.place(right);
    match_total_ = std::lerp(match_below_[end.cell], match_below_[end.cell + 1], end.share);

    grow(strip_, std::max((x.cells + 1) * e16_.dims(), (e32_.x().cells + 1) * e32_.dims()));
    for (Parts& parts : parts16_) {
        grow(parts.sums, kMostEdges * e16_.dims());
        grow(parts.scales, kMostEdges);
    }
    grow(means32_.sums, kMostEdges * e32_.dims());
    grow(means32_.scales, kMostEdges);

    stored_ = {photo.regions, 4 * photo.region_count};
    region_count_ = round_up(photo.region_count, kRegionMultiple);
    grow(regions_, 4 * region_count_);
    for (std::size_t r = 0; r < region_count_; ++r) {
        const bool real = r < photo.region_count;
        const float* box = photo.regions + 4 * r;
        regions_[r] = real ? box[0] : 0.0F;
        regions_[region_count_ + r] = real ? box[2] : 0.0F;
        regions_[2 * region_count_ + r] = real ? (box[2] - box[0]) * (box[3] - box[1]) : 1.0F;
        regions_[3 * region_count_ + r] = 0.0F;
    }
}

void BoxScorer::score(const BoxGrid& grid, const Box* boxes, BoxScore* out) {
    for (std::size_t first = 0; first < grid.columns; first += kBlock) {
        const std::size_t count = std::min(kBlock, grid.columns - first);
        set_edges(grid, {boxes + first, count});
        for (std::size_t row = 0; row < grid.rows; ++row) {
            const std::size_t at = row * grid.columns + first;
            score_row(grid, grid.chained_rows && row > 0, {boxes + at, count}, out + at);
        }
    }
}

void BoxScorer::BlockEdges::add(const Axis& axis, double pixels) {
    const double coordinate = axis.coordinate(pixels);
    const Place place = axis.place(coordinate);
    edges[count] = {static_cast<std::uint32_t>(place.cell), static_cast<float>(place.share)};
    widths[count] = static_cast<float>(coordinate);
    ++count;
}

// Columns are counted from the first that is needed, coordinates become widths.
void BoxScorer::BlockEdges::close() {
    const std::span all(edges, count);
    first = std::ranges::min(all, {}, &Edge::column).column;
    columns = std::ranges::max(all, {}, &Edge::column).column - first + 1;
    for (Edge& edge : all) edge.column -= static_cast<std::uint32_t>(first);
    for (std::size_t e = 0; e + 1 < count; ++e) widths[e] = widths[e + 1] - widths[e];
    std::fill(widths + count - 1, widths + kMostEdges, 0.0F);
}

// Chained boxes follow each other with two parts each; others have all four edges of their own,
// and what lies between the last of one and the first of the next is no part of any.
void BoxScorer::set_edges(const BoxGrid& grid, std::span<const Box> boxes) {
    edges16_.clear();
    edges32_.clear();
    for (std::size_t b = 0; b < boxes.size(); ++b) {
        const bool shares_last = grid.chained_columns && b + 1 < boxes.size();
        const std::size_t own = shares_last ? kPartsPerSide - 1 : kEdgesPerSide;
        for (std::size_t j = 0; j < own; ++j) {
            edges16_.add(e16_.x(), edge(boxes[b].x0, boxes[b].x1, j));
        }
        const double left = e16_.x().coordinate(boxes[b].x0);
        const double right = e16_.x().coordinate(boxes[b].x1);
        spans_[b] = {left, right, e16_.x().place(left), e16_.x().place(right)};
        edges32_.add(e32_.x(), boxes[b].x0);
        edges32_.add(e32_.x(), boxes[b].x1);
    }
    edges16_.close();
    edges32_.close();
}

void BoxScorer::sum_parts(const DecodedMap& map, const BlockEdges& block, double top, double bottom,
                          Parts& parts) {
    const double from = map.y().coordinate(top), to = map.y().coordinate(bottom);
    simd_.strip(map.line(map.y().place(from), block.first),
                map.line(map.y().place(to), block.first), block.columns, map.dims(), strip_.data());
    alignas(kCacheLine) float least[kMostEdges];
    const auto unit = static_cast<float>(kLeastMean * (to - from));
    for (std::size_t e = 0; e < kMostEdges; ++e) {
        least[e] = std::max(unit * block.widths[e], kLeastLength);
    }
    simd_.part_sums(strip_.data(), map.dims(), block.edges, block.count, least, parts.sums.data(),
                    parts.scales.data());
}

void BoxScorer::score_row(const BoxGrid& grid, bool shares_first, std::span<const Box> boxes,
                          BoxScore* out) {
    const auto [x0, y0, x1, y1] = boxes.front();
    if (shares_first) std::swap(parts16_[0], parts16_[kPartsPerSide - 1]);
    for (std::size_t j = shares_first ? 1 : 0; j < kPartsPerSide; ++j) {
        sum_parts(e16_, edges16_, edge(y0, y1, j), edge(y0, y1, j + 1), parts16_[j]);
    }
    sum_parts(e32_, edges32_, y0, y1, means32_);
    cores(grid, boxes, out);
    contrasts(boxes, out);
    overlaps(boxes, out);
}

// For runs of boxes that have the same size S nearest.
void BoxScorer::cores(const BoxGrid& grid, std::span<const Box> boxes, BoxScore* out) const {
    const double cells_per_pixel = e16_.x().cells_per_pixel * e16_.y().cells_per_pixel;
    const auto size_of = [&](std::size_t b) {
        return query_.nearest(boxes[b].area() * cells_per_pixel);
    };
    const std::size_t step = grid.chained_columns ? kPartsPerSide - 1 : kEdgesPerSide;
    const auto part_weight = static_cast<float>(options_.part_weight / double{kParts});
    const auto mean_weight = static_cast<float>(options_.mean_weight);
    std::array<float, kBlock> p{}, w{};
    for (std::size_t first = 0; first < boxes.size();) {
        const std::size_t size = size_of(first);
        std::size_t last = first + 1;
        while (last < boxes.size() && (grid.chained_columns || size_of(last) == size)) ++last;
        const std::size_t count = last - first;
        std::array<PartRow, kPartsPerSide> rows{};
        for (std::size_t j = 0; j < kPartsPerSide; ++j) {
            rows[j] = {parts16_[j].sums.data() + first * step * e16_.dims(),
                       parts16_[j].scales.data() + first * step};
        }
        // Two edges a box: its own width, and what lies between it and the next.
        const PartRow mean{means32_.sums.data() + 2 * first * e32_.dims(),
                           means32_.scales.data() + 2 * first};
        simd_.products(rows.data(), kPartsPerSide, kPartsPerSide, e16_.dims(), step, count,
                       query_.parts(size), p.data());
        simd_.products(&mean, 1, 1, e32_.dims(), 2, count, query_.means(size), w.data());
        for (std::size_t b = 0; b < count; ++b) {
            out[first + b].core = part_weight * p[b] + mean_weight * w[b];
        }
        first = last;
    }
}

// o(b): by how much the mean of m inside exceeds that outside, times sqrt(a (1 - a)).
void BoxScorer::contrasts(std::span<const Box> boxes, BoxScore* out) {
    const Axis& y = e16_.y();
    const double top = y.coordinate(boxes.front().y0), bottom = y.coordinate(boxes.front().y1);
    const std::size_t first = edges16_.first, count = edges16_.columns + 1;
    match_.line(y.place(top), first, count, match_above_.data());
    match_.line(y.place(bottom), first, count, match_below_.data());
    for (std::size_t i = 0; i < count; ++i) match_below_[i] -= match_above_[i];
    const auto until = [&](const Place& place) {
        const double* here = match_below_.data() + (place.cell - first);
        return here[0] + place.share * (here[1] - here[0]);
    };
    for (std::size_t b = 0; b < boxes.size(); ++b) {
        const BoxSpan& span = spans_[b];
        const double area = (span.right - span.left) * (bottom - top);
        const double spread = area * (map_area_ - area);  // a (1 - a) map_area^2
        out[b].contrast = 0.0;
        if (spread > kLeastShare * map_area_ * map_area_) {
            // inside / area - (total - inside) / rest, times sqrt(area rest) / map_area
            const double inside = until(span.to) - until(span.from);
            out[b].contrast =
                (inside * map_area_ - match_total_ * area) / (std::sqrt(spread) * map_area_);
        }
    }
}

void BoxScorer::overlaps(std::span<const Box> boxes, BoxScore* out) {
    const auto y0 = static_cast<float>(boxes.front().y0);
    const auto y1 = static_cast<float>(boxes.front().y1);
    float* shared = regions_.data() + 3 * region_count_;
    for (std::size_t r = 0; 4 * r < stored_.size(); ++r) {
        const float top = std::max(y0, stored_[4 * r + 1]);
        shared[r] = std::max(std::min(y1, stored_[4 * r + 3]) - top, 0.0F);
    }
    const float* columns = regions_.data();
    const RegionColumns regions{columns, columns + region_count_, columns + 2 * region_count_,
                                shared, region_count_};
    for (std::size_t b = 0; b < boxes.size(); ++b) {
        out[b].overlap = simd_.best_overlap(regions, static_cast<float>(boxes[b].x0),
                                            static_cast<float>(boxes[b].x1),
                                            static_cast<float>(boxes[b].area()));
    }
}

}  // namespace claid

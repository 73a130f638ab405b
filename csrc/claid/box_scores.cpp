#include "claid/box_scores.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace claid {
namespace {

// Shorter means of unit cells say nothing but rounding: they count as if they were this long.
constexpr double kLeastMean = 0.01;
// And sums of no cells at all are zeros, divided by this.
constexpr double kLeastLength = 1e-30;

// A box that is the whole photo, but for rounding, has no outside: a (1 - a) is not above this.
constexpr double kLeastShare = 1e-9;

template <class T>
void grow(AlignedArray<T>& array, std::size_t size) {
    if (array.size() < size) array = AlignedArray<T>(size);
}

Segment segment(double from, double to, std::size_t first, std::size_t cells) {
    const Place a = place_of(from, cells), b = place_of(to, cells);
    return {static_cast<std::uint32_t>(a.cell - first), static_cast<std::uint32_t>(b.cell - first),
            static_cast<float>(a.share), static_cast<float>(b.share), 0.0F};
}

// Edge j of the kPartsPerSide parts of a side; the last is `to` itself, not a rounding beyond it.
double edge(double from, double to, std::size_t j) {
    if (j == kPartsPerSide) return to;
    return from + (to - from) * static_cast<double>(j) / static_cast<double>(kPartsPerSide);
}

void set_least(std::span<Segment> segments, std::span<const double> widths, double height) {
    for (std::size_t i = 0; i < segments.size(); ++i) {
        segments[i].least =
            static_cast<float>(std::max(kLeastMean * widths[i] * height, kLeastLength));
    }
}

}  // namespace

PreparedQuery::PreparedQuery(const BoxQuery& query, const BoxKernels& simd)
    : aspect_(query.aspect),
      dims16_(round_up(query.dims16, kDimMultiple)),
      dims32_(round_up(query.dims32, kDimMultiple)),
      panel_count_((query.cell_count + simd.panel_columns - 1) / simd.panel_columns) {
    // Where there is no other size, the native template stands for it as well.
    const std::size_t first = query.templates > 1 ? 1 : 0;
    const std::size_t sizes = query.templates - first;
    parts_ = AlignedArray<float>(sizes * kParts * dims16_);
    means_ = AlignedArray<float>(sizes * dims32_);
    const auto add = [](const float* native, const float* other, std::size_t rows,
                        std::size_t dims, std::size_t padded, float* out) {
        for (std::size_t r = 0; r < rows; ++r, native += dims, other += dims, out += padded) {
            for (std::size_t k = 0; k < padded; ++k) out[k] = k < dims ? native[k] + other[k] : 0;
        }
    };
    for (std::size_t s = 0; s < sizes; ++s) {
        const std::size_t t = first + s;
        sides_.push_back(static_cast<double>(query.sides[t]) / query.cell_side);
        add(query.parts, query.parts + t * kParts * query.dims16, kParts, query.dims16, dims16_,
            parts_.data() + s * kParts * dims16_);
        add(query.means, query.means + t * query.dims32, 1, query.dims32, dims32_,
            means_.data() + s * dims32_);
    }
    panels_ = AlignedArray<float>(panel_count_ * simd.panel_columns * dims16_);
    float* to = panels_.data();
    for (std::size_t p = 0; p < panel_count_; ++p) {
        for (std::size_t k = 0; k < dims16_; ++k) {
            for (std::size_t c = 0; c < simd.panel_columns; ++c) {
                // The last cell fills the last panel: it is there already, so no maximum changes.
                const std::size_t g = std::min(p * simd.panel_columns + c, query.cell_count - 1);
                *to++ = k < query.dims16 ? query.cells[g * query.dims16 + k] : 0.0F;
            }
        }
    }
}

std::size_t PreparedQuery::nearest(double side) const {
    const auto distance = [side](double size) { return std::abs(size - side); };
    return static_cast<std::size_t>(std::ranges::min_element(sides_, {}, distance) -
                                    sides_.begin());
}

const float* PreparedQuery::parts(std::size_t size) const {
    return parts_.data() + size * kParts * dims16_;
}

const float* PreparedQuery::means(std::size_t size) const {
    return means_.data() + size * dims32_;
}

void BoxScorer::start(const PhotoMaps& photo) {
    photo_ = &photo;
    e16_.decode(photo.e16, simd_);
    e32_.decode(photo.e32, simd_);
    match_.match(e16_, query_.panels(), query_.panel_count(), simd_);
    const CellMap &fine = photo.e16, &coarse = photo.e32;
    const double right = in_cells(photo.width, fine.cell_width, fine.width);
    const double bottom = in_cells(photo.height, fine.cell_height, fine.height);
    map_area_ = right * bottom;
    match_lines_.resize(fine.width + 1);
    match_above_.resize(fine.width + 1);
    match_.line(place_of(bottom, fine.height), 0, fine.width + 1, match_lines_.data());
    const Place end = place_of(right, fine.width);
    match_total_ = std::lerp(match_lines_[end.cell], match_lines_[end.cell + 1], end.share);

    for (AlignedArray<float>& strip : strips_) grow(strip, (fine.width + 1) * e16_.dims());
    grow(strip32_, (coarse.width + 1) * e32_.dims());
    for (AlignedArray<float>& parts : unit_parts_) {
        grow(parts, kBlock * kPartsPerSide * e16_.dims());
    }
    grow(unit_means_, kBlock * e32_.dims());

    region_columns_ = round_up(photo.region_count, kRegionMultiple);
    grow(regions_, 4 * region_columns_);
    std::fill_n(regions_.data(), 4 * region_columns_, 0.0F);
    for (std::size_t r = 0; r < photo.region_count; ++r) {
        const float* box = photo.regions + 4 * r;
        regions_[r] = box[0];
        regions_[region_columns_ + r] = box[2];
        regions_[2 * region_columns_ + r] = (box[2] - box[0]) * (box[3] - box[1]);
    }
    for (std::size_t r = photo.region_count; r < region_columns_; ++r) {
        regions_[2 * region_columns_ + r] = 1.0F;
    }
}

BoxScorer::Columns BoxScorer::columns_of(const CellMap& map, std::span<const Box> boxes) {
    const double left = std::ranges::min(boxes, {}, &Box::x0).x0;
    const double right = std::ranges::max(boxes, {}, &Box::x1).x1;
    const auto place = [&map](double x) {
        return place_of(in_cells(x, map.cell_width, map.width), map.width).cell;
    };
    const std::size_t first = place(left);
    return {first, place(right) - first + 1};
}

void BoxScorer::score(const BoxRow& row, const Box* boxes, BoxScore* out) {
    const std::span all(boxes, row.count);
    columns16_ = columns_of(photo_->e16, all);
    columns32_ = columns_of(photo_->e32, all);
    sum_strips(all.front());
    see_regions(all.front());
    for (std::size_t first = 0; first < row.count; first += kBlock) {
        const auto block = all.subspan(first, std::min(kBlock, row.count - first));
        score_block(row.chained, block, out + first);
    }
}

// What lies between the lines of the row: for the three rows of parts, for the mean, and for m.
void BoxScorer::sum_strips(const Box& any) {
    const CellMap &fine = photo_->e16, &coarse = photo_->e32;
    std::array<double, kEdges> y{};
    for (std::size_t j = 0; j < kEdges; ++j) {
        y[j] = in_cells(edge(any.y0, any.y1, j), fine.cell_height, fine.height);
    }
    for (std::size_t j = 0; j < kPartsPerSide; ++j) {
        strip_height_[j] = y[j + 1] - y[j];
        simd_.strip(e16_.line(place_of(y[j], fine.height), columns16_.first),
                    e16_.line(place_of(y[j + 1], fine.height), columns16_.first),
                    columns16_.count, e16_.dims(), strips_[j].data());
    }
    const double top = in_cells(any.y0, coarse.cell_height, coarse.height);
    const double bottom = in_cells(any.y1, coarse.cell_height, coarse.height);
    row_height_ = bottom - top;
    simd_.strip(e32_.line(place_of(top, coarse.height), columns32_.first),
                e32_.line(place_of(bottom, coarse.height), columns32_.first), columns32_.count,
                e32_.dims(), strip32_.data());

    match_height_ = y.back() - y.front();
    const std::size_t count = columns16_.count + 1;
    match_.line(place_of(y.front(), fine.height), columns16_.first, count, match_above_.data());
    match_.line(place_of(y.back(), fine.height), columns16_.first, count, match_lines_.data());
    for (std::size_t i = 0; i < count; ++i) match_lines_[i] -= match_above_[i];
}

void BoxScorer::score_block(bool chained, std::span<const Box> boxes, BoxScore* out) {
    add_parts(chained, boxes);
    add_means(boxes);
    products_by_size(boxes, chained, out);
    contrasts(boxes, out);
    overlaps(boxes, out);
}

// Unit vectors of the parts of each box, or of a chain of boxes that share every third column.
void BoxScorer::add_parts(bool chained, std::span<const Box> boxes) {
    const CellMap& fine = photo_->e16;
    segments_.clear();
    widths_.clear();
    for (std::size_t b = 0; b < boxes.size(); ++b) {
        const bool shares_last = chained && b + 1 < boxes.size();
        const std::size_t parts = shares_last ? kPartsPerSide - 1 : kPartsPerSide;
        double from = in_cells(boxes[b].x0, fine.cell_width, fine.width);
        for (std::size_t j = 1; j <= parts; ++j) {
            const double to =
                in_cells(edge(boxes[b].x0, boxes[b].x1, j), fine.cell_width, fine.width);
            segments_.push_back(segment(from, to, columns16_.first, fine.width));
            widths_.push_back(to - from);
            from = to;
        }
    }
    for (std::size_t j = 0; j < kPartsPerSide; ++j) {
        set_least(segments_, widths_, strip_height_[j]);
        simd_.unit_sums(strips_[j].data(), e16_.dims(), segments_.data(), segments_.size(),
                        unit_parts_[j].data());
    }
}

void BoxScorer::add_means(std::span<const Box> boxes) {
    const CellMap& coarse = photo_->e32;
    segments_.clear();
    widths_.clear();
    for (const Box& box : boxes) {
        const double from = in_cells(box.x0, coarse.cell_width, coarse.width);
        const double to = in_cells(box.x1, coarse.cell_width, coarse.width);
        segments_.push_back(segment(from, to, columns32_.first, coarse.width));
        widths_.push_back(to - from);
    }
    set_least(segments_, widths_, row_height_);
    simd_.unit_sums(strip32_.data(), e32_.dims(), segments_.data(), segments_.size(),
                    unit_means_.data());
}

// core, for runs of boxes that have the same size S nearest.
void BoxScorer::products_by_size(std::span<const Box> boxes, bool chained, BoxScore* out) {
    const double cell_area = photo_->e16.cell_width * photo_->e16.cell_height;
    const auto size_of = [&](const Box& box) {
        return query_.nearest(std::sqrt(box.area() / cell_area));
    };
    const std::size_t dims = e16_.dims();
    const std::size_t step = (chained ? kPartsPerSide - 1 : kPartsPerSide) * dims;
    std::array<float, kBlock> p{}, w{};
    for (std::size_t first = 0; first < boxes.size();) {
        const std::size_t size = size_of(boxes[first]);
        std::size_t last = first + 1;
        while (last < boxes.size() && size_of(boxes[last]) == size) ++last;
        const std::array<const float*, kPartsPerSide> rows = {
            unit_parts_[0].data() + first * step, unit_parts_[1].data() + first * step,
            unit_parts_[2].data() + first * step};
        const float* mean = unit_means_.data() + first * e32_.dims();
        simd_.products(rows.data(), kPartsPerSide, kPartsPerSide * dims, step, last - first,
                       query_.parts(size), p.data() + first);
        simd_.products(&mean, 1, e32_.dims(), e32_.dims(), last - first, query_.means(size),
                       w.data() + first);
        first = last;
    }
    const auto part_weight = static_cast<float>(options_.part_weight / double{kParts});
    const auto mean_weight = static_cast<float>(options_.mean_weight);
    for (std::size_t b = 0; b < boxes.size(); ++b) {
        out[b].core = part_weight * p[b] + mean_weight * w[b];
    }
}

// o(b): by how much the mean of m inside exceeds that outside, times sqrt(a (1 - a)).
void BoxScorer::contrasts(std::span<const Box> boxes, BoxScore* out) const {
    const CellMap& fine = photo_->e16;
    const auto at = [&](double x) {
        const Place place = place_of(x, fine.width);
        const double* here = match_lines_.data() + (place.cell - columns16_.first);
        return here[0] + place.share * (here[1] - here[0]);
    };
    for (std::size_t b = 0; b < boxes.size(); ++b) {
        const double left = in_cells(boxes[b].x0, fine.cell_width, fine.width);
        const double right = in_cells(boxes[b].x1, fine.cell_width, fine.width);
        const double area = (right - left) * match_height_;
        const double share = area / map_area_;
        const double rest = map_area_ - area;
        out[b].contrast = 0.0;
        if (area > 0.0 && share * (1.0 - share) > kLeastShare) {
            const double inside = at(right) - at(left);
            out[b].contrast = (inside / area - (match_total_ - inside) / rest) *
                              std::sqrt(share * (1.0 - share));
        }
    }
}

void BoxScorer::see_regions(const Box& any) {
    float* overlap = regions_.data() + 3 * region_columns_;
    for (std::size_t r = 0; r < photo_->region_count; ++r) {
        const float* region = photo_->regions + 4 * r;
        const double shared = std::min(any.y1, static_cast<double>(region[3])) -
                              std::max(any.y0, static_cast<double>(region[1]));
        overlap[r] = static_cast<float>(std::max(shared, 0.0));
    }
}

void BoxScorer::overlaps(std::span<const Box> boxes, BoxScore* out) const {
    const float* columns = regions_.data();
    const RegionColumns regions{columns, columns + region_columns_, columns + 2 * region_columns_,
                                columns + 3 * region_columns_, region_columns_};
    for (std::size_t b = 0; b < boxes.size(); ++b) {
        out[b].overlap = simd_.best_overlap(regions, static_cast<float>(boxes[b].x0),
                                            static_cast<float>(boxes[b].x1),
                                            static_cast<float>(boxes[b].area()));
    }
}

}  // namespace claid

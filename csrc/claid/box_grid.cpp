#include "claid/box_grid.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

namespace claid {
namespace {

// Positions may differ from the last whole stride by rounding.
constexpr double kRounding = 1e-9;

// Where boxes of one side lie along one axis of the photo, all in e16 cells.
struct Positions {
    std::size_t count;
    double first, stride;
};

Positions positions(double extent, double side, const BoxSearchOptions& options) {
    const double stride = std::max(options.least_stride, side / options.stride_divisor);
    const double room = extent - side;
    const auto steps = static_cast<std::size_t>(std::floor(room / stride + kRounding));
    return {steps + 1, std::max(0.0, room - static_cast<double>(steps) * stride) / 2.0, stride};
}

Box clipped(const PhotoMaps& photo, double x0, double y0, double x1, double y1) {
    return {std::clamp(x0, 0.0, photo.width), std::clamp(y0, 0.0, photo.height),
            std::clamp(x1, 0.0, photo.width), std::clamp(y1, 0.0, photo.height)};
}

struct Side {
    double centre, length;
};

// The grid of boxes of one width and height, in e16 cells, on a photo of columns x rows of them.
void add_shape(const PhotoMaps& photo, const BoxSearchOptions& options, double columns, double rows,
               double width, double height, BoxList& list) {
    const CellMap& map = photo.e16;
    const Positions x = positions(columns, width, options);
    const Positions y = positions(rows, height, options);
    const auto chained = [&options](const Positions& along, double length) {
        return options.stride_divisor == kPartsPerSide / (kPartsPerSide - 1.0) &&
               along.stride == length / options.stride_divisor;
    };
    list.grids.push_back(
        {list.boxes.size(), x.count, y.count, chained(x, width), chained(y, height)});
    for (std::size_t j = 0; j < y.count; ++j) {
        const double top = y.first + static_cast<double>(j) * y.stride;
        for (std::size_t i = 0; i < x.count; ++i) {
            const double left = x.first + static_cast<double>(i) * x.stride;
            list.boxes.push_back(clipped(photo, left * map.cell_width, top * map.cell_height,
                                         (left + width) * map.cell_width,
                                         (top + height) * map.cell_height));
        }
    }
}

}  // namespace

void add_coarse_grid(const PhotoMaps& photo, double aspect, const BoxSearchOptions& options,
                     BoxList& list) {
    const CellMap& map = photo.e16;
    const double columns = std::min(photo.width / map.cell_width, static_cast<double>(map.width));
    const double rows = std::min(photo.height / map.cell_height, static_cast<double>(map.height));
    const double largest = std::sqrt(columns * rows);
    std::vector<std::pair<double, double>> shapes;
    double side = options.smallest_side;
    while (shapes.empty() || side <= largest) {
        for (const double factor : options.aspects) {
            const double stretch = std::sqrt(aspect * factor);
            const std::pair shape(std::min(std::max(side * stretch, 1.0), columns),
                                  std::min(std::max(side / stretch, 1.0), rows));
            if (std::ranges::find(shapes, shape) != shapes.end()) continue;
            shapes.push_back(shape);
            add_shape(photo, options, columns, rows, shape.first, shape.second, list);
        }
        side *= std::numbers::sqrt2;
    }
}

void add_regions(const PhotoMaps& photo, BoxList& list) {
    for (std::size_t r = 0; r < photo.region_count; ++r) {
        const float* region = photo.regions + 4 * r;
        list.grids.push_back({list.boxes.size(), 1, 1, false, false});
        list.boxes.push_back(clipped(photo, region[0], region[1], region[2], region[3]));
    }
}

void add_refined(const PhotoMaps& photo, const Box& seed, const BoxSearchOptions& options,
                 double step, BoxList& list) {
    const std::array<double, 3> shifts = {0.0, -options.shift * step, options.shift * step};
    const std::array<double, 3> scales = {1.0, std::pow(options.grow, step),
                                          std::pow(options.shrink, step)};
    const Side x{(seed.x0 + seed.x1) / 2.0, seed.width()};
    const Side y{(seed.y0 + seed.y1) / 2.0, seed.height()};
    for (std::size_t scale_y = 0; scale_y < scales.size(); ++scale_y) {
        const double half_height = scales[scale_y] * y.length / 2.0;
        for (const double shift_y : shifts) {
            const double middle = y.centre + shift_y * y.length;
            list.grids.push_back({list.boxes.size(), 0, 1, false, false});
            for (std::size_t scale_x = 0; scale_x < scales.size(); ++scale_x) {
                // One side alone, or both by the same.
                if (scale_x != scale_y && scale_x != 0 && scale_y != 0) continue;
                const double half_width = scales[scale_x] * x.length / 2.0;
                for (const double shift_x : shifts) {
                    const double centre = x.centre + shift_x * x.length;
                    list.boxes.push_back(clipped(photo, centre - half_width, middle - half_height,
                                                 centre + half_width, middle + half_height));
                    ++list.grids.back().columns;
                }
            }
        }
    }
}

double iou(const Box& a, const Box& b) {
    const double width = std::min(a.x1, b.x1) - std::max(a.x0, b.x0);
    const double height = std::min(a.y1, b.y1) - std::max(a.y0, b.y0);
    if (width <= 0.0 || height <= 0.0) return 0.0;
    const double shared = width * height;
    return shared / (a.area() + b.area() - shared);
}

}  // namespace claid

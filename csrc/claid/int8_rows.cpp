#include "claid/int8_rows.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "claid/float_environment.hpp"
#include "claid/parallel.hpp"

namespace claid {
namespace {

// Widens a remainder's square by more than the rounding of its float32 sum: at most
// kMaxFilterDims / 4 + 5 steps of 2^-24.
constexpr double kRemainderMargin = 1.0 + 0x1p-11;

// Widens the bounds by more than all roundings of a comparison: under eight steps of 2^-23 each.
constexpr double kComparisonMargin = 0x1p-19;

}  // namespace

Int8Rows::Int8Rows(const Q15Rows& q15, std::int32_t threshold, const FilterKernels& filter,
                   std::size_t panel_columns, std::size_t threads)
    : stride(round_up(q15.dims, kSpreadBlock)),
      storage_(2 * q15.padded_patches() * stride),
      rows_(q15.padded_patches(), Int8Row{1.0F, 0.0F, 0}),
      bounds_(q15.padded_patches()),
      unit_(q15.padded_patches()),
      reach_(q15.padded_patches()) {
    parallel_for(q15.padded_patches() / kWordBits, threads,
                 [&](std::size_t block) { narrow(q15, filter, panel_columns, block * kWordBits); });
    bound(q15, threshold);
}

// Rows and panels of the kWordBits patches from `first` on.
void Int8Rows::narrow(const Q15Rows& q15, const FilterKernels& filter, std::size_t panel_columns,
                      std::size_t first) {
    const DefaultFloatEnvironment environment;
    std::int8_t* rows = storage_.data() + first * stride;
    const std::size_t inside = std::min(kWordBits, q15.patches - first);
    for (std::size_t r = 0; r < inside; ++r) {
        rows_[first + r] = filter.to_int8(q15.row(first + r), q15.stride, rows + r * stride);
    }
    std::memset(rows + inside * stride, 0, (kWordBits - inside) * stride);
    std::int8_t* panels = rows + unit_.size() * stride;
    for (std::size_t r = 0; r < kWordBits; r += panel_columns) {
        filter.pack_panel(rows + r * stride, stride, panels + r * stride);
    }
}

void Int8Rows::bound(const Q15Rows& q15, std::int32_t threshold) {
    const DefaultFloatEnvironment environment;
    double length = 0.0;
    std::vector<double> remainder(rows_.size(), 0.0);
    for (std::size_t i = 0; i < q15.patches; ++i) {
        remainder[i] = std::sqrt(double{rows_[i].remainder_squared} * kRemainderMargin);
        const double spread = std::sqrt(double{kSpreadBlock} * q15.squares[i]);
        length = std::max(length, spread + 0.5 * remainder[i]);
    }
    const double centre = double{kSpreadBlock} * threshold;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
        const double unit = 1.0 / double{rows_[i].scale};
        const double middle = centre * unit, reach = length * remainder[i] * unit;
        const double width = reach + kComparisonMargin * (std::abs(middle) + reach);
        bounds_[i] = {static_cast<float>(middle + width), static_cast<float>(middle - width),
                      static_cast<float>(unit), rows_[i].sum};
        unit_[i] = static_cast<float>(unit);
        reach_[i] = static_cast<float>(reach * (1.0 + kComparisonMargin));
    }
}

}  // namespace claid

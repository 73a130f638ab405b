// The int8 filter by itself: what it decides is true for every pair, on rows made to reach its
// bound as well, and it decides most pairs of ordinary rows.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.hpp"
#include "claid/affinity.hpp"
#include "claid/int8_rows.hpp"
#include "claid/simd/dispatch.hpp"
#include "claid/tree.hpp"
#include "random_features.hpp"
#include "same_tree.hpp"

#if defined(CLAID_X86)
namespace claid {
const Kernels* avxvnni_by_avx512_kernels();
const Kernels* amx_emulated_kernels();
}  // namespace claid
#endif

namespace {

using namespace claid;
using claid::test::Kind;
using claid::test::Picture;

std::int64_t exact_dot(const Q15Rows& q15, std::size_t i, std::size_t j) {
    std::int64_t total = 0;
    for (std::size_t k = 0; k < q15.dims; ++k) {
        total += std::int64_t{q15.row(i)[k]} * q15.row(j)[k];
    }
    return total;
}

// Sees every pair at one threshold; returns how many the filter leaves open.
std::size_t check_pairs(const Q15Rows& q15, const std::vector<std::int64_t>& dots,
                        std::int32_t threshold, const Kernels& simd) {
    const FilterKernels& filter = *simd.filter;
    const Int8Rows int8(q15, threshold, filter, simd.tile_columns, 2);
    std::uint32_t linked[kWordBits], undecided[kWordBits];
    std::size_t open = 0;
    for (std::size_t row = 0; row < q15.patches; row += filter.tile_rows) {
        for (std::size_t column = 0; column < q15.patches; column += simd.tile_columns) {
            const int count =
                filter.tile(int8.row(row), int8.stride, int8.panel(column), int8.bounds(row),
                            int8.columns(column), linked, undecided);
            int counted = 0;
            for (std::size_t r = 0; r < filter.tile_rows; ++r) {
                CHECK((linked[r] & undecided[r]) == 0);
                for (std::size_t c = 0; c < simd.tile_columns; ++c) {
                    const bool is_open = (undecided[r] >> c & 1) != 0;
                    counted += is_open ? 1 : 0;
                    if (row + r >= q15.patches || column + c >= q15.patches) continue;
                    open += is_open ? 1 : 0;
                    const bool above = dots[(row + r) * q15.patches + column + c] > threshold;
                    CHECK(is_open || above == ((linked[r] >> c & 1) != 0));
                }
            }
            CHECK(count == counted);
        }
    }
    return open;
}

std::vector<std::int64_t> all_dots(const Q15Rows& q15) {
    std::vector<std::int64_t> dots;
    for (std::size_t i = 0; i < q15.patches; ++i) {
        for (std::size_t j = 0; j < q15.patches; ++j) dots.push_back(exact_dot(q15, i, j));
    }
    return dots;
}

// Thresholds at tau's ends, and at and beside the products that occur.
std::vector<std::int32_t> thresholds(const std::vector<std::int64_t>& dots, std::mt19937& random) {
    std::vector<std::int32_t> all;
    for (const double tau : {-1.0, -0.3, 0.0, 0.2, 0.4, 1.0}) {
        all.push_back(affinity_threshold(tau));
    }
    for (int i = 0; i < 4; ++i) {
        const auto dot = static_cast<std::int32_t>(dots[random() % dots.size()]);
        for (const std::int32_t beside : {-1, 0, 1}) all.push_back(dot + beside);
    }
    return all;
}

void check_any_rows(const Kernels& simd) {
    std::mt19937 random(3);
    for (const Kind kind : {Kind::blobs, Kind::noise, Kind::ties, Kind::constant, Kind::zeros}) {
        for (const std::size_t dims : {1, 2, 31, 64, 65, 100, 384, 1000}) {
            const Picture made = test::picture(kind, {7, 11}, dims, 9);
            const Q15Rows q15 = quantise(made.features(), simd, 1);
            const std::vector<std::int64_t> dots = all_dots(q15);
            for (const std::int32_t t : thresholds(dots, random)) check_pairs(q15, dots, t, simd);
        }
    }
}

// A few dimensions hold most of every row, as in the tokens of large ViTs.
void check_massive_dimensions(const Kernels& simd) {
    for (const float massive : {3.0F, 30.0F, 3e4F}) {
        Picture made = test::picture(Kind::blobs, {9, 14}, 384, 4);
        for (std::size_t p = 0; p < made.grid.patches(); ++p) {
            for (const std::size_t k : {5, 200, 201}) made.values[p * 384 + k] *= massive;
        }
        const Q15Rows q15 = quantise(made.features(), simd, 1);
        const std::vector<std::int64_t> dots = all_dots(q15);
        for (const double tau : {-0.2, 0.0, 0.2, 0.7, 0.999}) {
            check_pairs(q15, dots, affinity_threshold(tau), simd);
        }
    }
}

// Most pairs of ordinary rows are decided, equal rows at tau far from 1 all are, and pairs whose
// product is the threshold never are.
void check_decides(const Kernels& simd) {
    const Picture made = test::picture(Kind::noise, {8, 16}, 768, 2);
    const Q15Rows q15 = quantise(made.features(), simd, 1);
    const std::vector<std::int64_t> dots = all_dots(q15);
    const std::size_t pairs = dots.size();
    CHECK(check_pairs(q15, dots, affinity_threshold(0.2), simd) < pairs / 50);
    CHECK(check_pairs(q15, dots, affinity_threshold(0.0), simd) > pairs / 10);

    const Picture equal = test::picture(Kind::constant, {8, 16}, 768, 2);
    const Q15Rows same = quantise(equal.features(), simd, 1);
    const std::vector<std::int64_t> products = all_dots(same);
    CHECK(check_pairs(same, products, affinity_threshold(0.2), simd) == 0);
    const auto at = static_cast<std::int32_t>(products[0]);
    CHECK(check_pairs(same, products, at, simd) == pairs);
    CHECK(check_pairs(same, products, at - 1, simd) == pairs);
}

// Features whose spread rows are the given ones: y = H S x, so x = S H y.
Picture unspread(const std::vector<std::vector<float>>& rows) {
    const std::size_t dims = rows[0].size();
    Picture made{{1, static_cast<std::int32_t>(rows.size())}, dims, {}};
    for (const std::vector<float>& y : rows) {
        for (std::size_t k = 0; k < dims; ++k) {
            const std::size_t block = k / kSpreadBlock * kSpreadBlock, place = k % kSpreadBlock;
            float x = 0.0F;
            for (std::size_t m = 0; m < kSpreadBlock; ++m) {
                x += std::popcount(place & m) % 2 == 0 ? y[block + m] : -y[block + m];
            }
            made.values.push_back((kSpreadSigns >> place & 1) != 0 ? -x : x);
        }
    }
    return made;
}

// Row 0 is +-1 everywhere. The others' remainders, just under half a step of their scale, all have
// its signs, or all the opposite: Cauchy-Schwarz with equality, so that the products with row 0 are
// wrong by all that the bound allows.
void check_bound_reached(const Kernels& simd) {
    constexpr std::size_t kDims = 384, kRows = 33;
    std::mt19937 random(8);
    std::vector<float> sign(kDims);
    for (float& s : sign) s = random() % 2 == 0 ? 1.0F : -1.0F;
    std::vector<std::vector<float>> rows = {sign};
    for (std::size_t i = 1; i < kRows; ++i) {
        const float aside = i % 2 == 0 ? 0.47F : -0.47F;
        std::vector<float> y(kDims);
        for (std::size_t k = 0; k < kDims; ++k) {
            y[k] = (static_cast<float>(random() % 5) - 2.0F + aside) * sign[k];
        }
        y[0] = static_cast<float>(
            simd.filter
                ->most);  // the scale is one, of a unit so large that its rounding is nothing
        rows.push_back(y);
    }
    const Q15Rows q15 = quantise(unspread(rows).features(), simd, 1);
    const std::vector<std::int64_t> dots = all_dots(q15);

    const Int8Rows int8(q15, 0, *simd.filter, simd.tile_columns, 1);
    std::size_t reached = 0;
    for (std::size_t i = 1; i < kRows; ++i) {
        std::int64_t product = 0;
        for (std::size_t k = 0; k < int8.stride; ++k) {
            product += int8.row(0)[k] * int8.row(i)[k];
        }
        // At threshold 0 a column's reach is its share of the bound over both scales.
        const double scales = 1.0 / (double{*int8.columns(0).unit} * *int8.columns(i).unit);
        const double missed =
            64.0 * static_cast<double>(dots[i]) - scales * static_cast<double>(product);
        const double bound = scales * (double{*int8.columns(0).reach} * *int8.columns(i).unit +
                                       double{*int8.columns(0).unit} * *int8.columns(i).reach);
        CHECK(std::abs(missed) <= bound);
        reached += std::abs(missed) > 0.9 * bound ? 1 : 0;
        for (const std::int32_t beside : {-2, -1, 0, 1, 2}) {
            check_pairs(q15, dots, static_cast<std::int32_t>(dots[i]) + beside, simd);
        }
    }
    CHECK(reached > kRows / 2);
}

// Through `affinity`, whose tiles turn the filter off and on: half of the graph is undecidable.
void check_mixed_graph(const Kernels& simd) {
    const std::size_t dims = 128;
    Picture made = test::picture(Kind::blobs, {20, 33}, dims, 5);
    std::mt19937 random(1);
    for (std::size_t p = 0; p < 330; ++p) {
        for (std::size_t k = 0; k < dims; ++k) {
            made.values[p * dims + k] = k == 0 ? 1.0F : (p % 3 == k % 3 ? 0.5F : 0.0F);
        }
        made.values[p * dims + 1 + random() % (dims - 1)] += 1e-3F;
    }
    const Q15Rows q15 = quantise(made.features(), simd, 1);
    const std::vector<std::int64_t> dots = all_dots(q15);
    for (const double tau : {static_cast<double>(dots[1]) / 1073676289.0, 0.2, -1.0, 1.0, 0.0}) {
        for (const std::size_t threads : {1, 3}) {
            const BitGraph graph = affinity(q15, tau, simd, threads);
            for (std::size_t i = 0; i < q15.patches; ++i) {
                for (std::size_t j = 0; j < q15.patches; ++j) {
                    const bool above = dots[i * q15.patches + j] > affinity_threshold(tau);
                    CHECK(graph.linked(i, j) == (i != j && above));
                }
            }
        }
    }
}

// The whole tree, at sizes with and without the filter.
void check_trees(const Kernels& simd) {
    for (const Kind kind : {Kind::blobs, Kind::ties, Kind::zeros}) {
        for (const Grid grid : {Grid{9, 13}, Grid{23, 29}}) {
            const Picture made = test::picture(kind, grid, 160, 12);
            const RegionTree wanted = decompose(made.features(), {}, *scalar_kernels(), 1);
            CHECK(test::same(decompose(made.features(), {}, simd, 1), wanted));
            CHECK(test::same(decompose(made.features(), {}, simd, 3), wanted));
        }
    }
}

// The levels that run here and, where AVX-512 VNNI does, those that its instructions can act.
std::vector<const Kernels*> all_levels() {
    std::vector<const Kernels*> all;
    [[maybe_unused]] bool vnni = false;
    for (const std::string& level : simd_levels()) {
        use_simd_level(level);
        all.push_back(&kernels());
        vnni |= level == "avx512vnni";
    }
#if defined(CLAID_X86)
    if (vnni) {
        all.push_back(avxvnni_by_avx512_kernels());
        all.push_back(amx_emulated_kernels());
    }
#endif
    return all;
}

}  // namespace

int main() {
    std::string tried;
    for (const Kernels* level : all_levels()) {
        check_mixed_graph(*level);
        check_trees(*level);
        if (level->filter == nullptr) continue;
        tried += std::string(" ") + level->level;
        check_any_rows(*level);
        check_massive_dimensions(*level);
        check_decides(*level);
        check_bound_reached(*level);
    }
    std::printf("filters tried:%s\n", tried.empty() ? " none" : tried.c_str());
    return claid::test::summary();
}

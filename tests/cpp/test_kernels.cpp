// The kernels by themselves, for sanitizers and for processors without Python at hand: every SIMD
// level and thread count gives the scalar level's trees, and the steps agree with the contract's
// formulas worked out plainly. Ends with a digest of all trees, the same on every machine.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "claid/affinity.hpp"
#include "claid/ksums.hpp"
#include "claid/simd/dispatch.hpp"
#include "claid/tree.hpp"
#include "claid/visiting_order.hpp"

namespace {

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            std::printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
            std::exit(1);                                                       \
        }                                                                       \
    } while (false)

// Integer-made noise, so that no library function differs between machines.
class Noise {
  public:
    explicit Noise(std::uint64_t seed) : state_(seed) {}
    std::uint64_t next() { return claid::mix(state_++); }
    float uniform() { return static_cast<float>(next() >> 40) / 8388608.0F - 1.0F; }

  private:
    std::uint64_t state_;
};

struct Image {
    claid::Grid grid;
    std::size_t dims;
    std::vector<float> values;

    [[nodiscard]] claid::Features features() const { return {values.data(), dims, grid}; }
};

// Rectangles of like patches over a background; `noise` of 0 makes whole rectangles equal.
Image make_image(std::int32_t height, std::int32_t width, std::size_t dims, float noise,
                 std::uint64_t seed) {
    Noise random(seed);
    Image image{{height, width}, dims, {}};
    image.values.resize(image.grid.patches() * dims);
    std::vector<std::size_t> object(image.grid.patches(), 0);
    constexpr std::size_t kObjects = 6;
    for (std::size_t o = 1; o < kObjects; ++o) {
        const auto rows = static_cast<std::uint64_t>(height),
                   columns = static_cast<std::uint64_t>(width);
        const std::uint64_t y = random.next() % rows, x = random.next() % columns;
        const std::uint64_t bottom = std::min(rows, y + 1 + random.next() % rows);
        const std::uint64_t right = std::min(columns, x + 1 + random.next() % columns);
        for (std::uint64_t i = y; i < bottom; ++i) {
            for (std::uint64_t j = x; j < right; ++j) object[i * columns + j] = o;
        }
    }
    std::vector<float> centre(kObjects * dims);
    for (float& value : centre) value = random.uniform();
    for (std::size_t p = 0; p < object.size(); ++p) {
        for (std::size_t k = 0; k < dims; ++k) {
            image.values[p * dims + k] = centre[object[p] * dims + k] + noise * random.uniform();
        }
    }
    return image;
}

bool same(const claid::RegionTree& a, const claid::RegionTree& b) {
    if (a.regions.size() != b.regions.size() || a.offsets != b.offsets || a.members != b.members ||
        a.cuts != b.cuts || a.moves != b.moves) {
        return false;
    }
    for (std::size_t r = 0; r < a.regions.size(); ++r) {
        const claid::Region &x = a.regions[r], &y = b.regions[r];
        if (x.parent != y.parent || x.level != y.level || x.size != y.size ||
            x.connectivity != y.connectivity || x.dominance != y.dominance || x.dummy != y.dummy ||
            !std::equal(std::begin(x.box), std::end(x.box), std::begin(y.box))) {
            return false;
        }
    }
    return true;
}

std::uint64_t digest(const claid::RegionTree& tree, std::uint64_t state) {
    for (const claid::Region& region : tree.regions) {
        state = claid::mix(state ^ static_cast<std::uint32_t>(region.parent));
        state = claid::mix(state ^ std::bit_cast<std::uint64_t>(region.connectivity));
        state = claid::mix(state ^ std::bit_cast<std::uint64_t>(region.dominance));
    }
    for (const std::uint16_t member : tree.members) state = claid::mix(state ^ member);
    return claid::mix(state ^ static_cast<std::uint64_t>(tree.moves));
}

std::int64_t plain_dot(const claid::Q15Rows& q15, std::size_t i, std::size_t j) {
    std::int64_t total = 0;
    for (std::size_t k = 0; k < q15.dims; ++k) {
        total += std::int64_t{q15.row(i)[k]} * q15.row(j)[k];
    }
    return total;
}

// Section 2 and 3 of the contract, entry by entry.
void check_affinity(const Image& image, double tau, const claid::Kernels& simd) {
    const claid::Q15Rows q15 = claid::quantise(image.features(), simd, 1);
    const claid::BitGraph graph = claid::affinity(q15, tau, simd, 2);
    const auto threshold = static_cast<std::int64_t>(std::floor(tau * 1073676289.0));
    for (std::size_t i = 0; i < q15.patches; ++i) {
        CHECK(q15.squares[i] == plain_dot(q15, i, i));
        for (std::size_t j = 0; j < q15.patches; ++j) {
            CHECK(graph.linked(i, j) == (i != j && plain_dot(q15, i, j) > threshold));
        }
        for (std::size_t j = q15.patches; j < graph.words * claid::kWordBits; ++j) {
            CHECK(!graph.linked(i, j));
        }
    }
}

// Eq. 1: the sum of all pairwise squared distances inside the two clusters.
std::int64_t objective(const claid::Q15Rows& q15, const std::vector<std::uint8_t>& side) {
    std::int64_t total = 0;
    for (std::size_t i = 0; i < side.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            if (side[i] != side[j]) continue;
            total += plain_dot(q15, i, i) + plain_dot(q15, j, j) - 2 * plain_dot(q15, i, j);
        }
    }
    return total;
}

// Sweeps end where no single move lowers the objective.
void check_k_sums(const Image& image, const claid::Kernels& simd) {
    const claid::Q15Rows q15 = claid::quantise(image.features(), simd, 1);
    const claid::BitGraph graph = claid::affinity(q15, 0.2, simd, 1);
    std::vector<std::uint16_t> all(q15.patches);
    std::iota(all.begin(), all.end(), std::uint16_t{0});
    std::vector<std::uint64_t> bits(graph.words, 0);
    std::vector<std::uint32_t> inside(all.size());
    claid::degrees(graph, simd, all, claid::Membership(bits, all), inside.data());
    const claid::Node node{all, inside};
    claid::Clusters clusters;
    claid::start(node, q15, graph, {}, simd, clusters);
    const std::int64_t before = objective(q15, clusters.side);
    const std::int64_t moves = claid::k_sums(node, q15, {}, simd, clusters);
    const std::int64_t after = objective(q15, clusters.side);
    CHECK(moves > 0 ? after < before : after == before);
    for (std::size_t i = 0; i < all.size(); ++i) {
        const auto own = std::count(clusters.side.begin(), clusters.side.end(), clusters.side[i]);
        if (own == 1) continue;
        clusters.side[i] ^= 1;
        CHECK(objective(q15, clusters.side) >= after);
        clusters.side[i] ^= 1;
    }
}

std::vector<claid::Options> option_sets() {
    std::vector<claid::Options> sets(4);
    sets[1].start = claid::Start::random;
    sets[1].seed = 0xFFFFFFFFFFFFFFFF;
    sets[1].min_patches = 2;
    sets[2].rules = claid::Rules::released;
    sets[2].dominance = 0.1;
    sets[2].min_patches = 4;
    sets[3].tau = -0.5;
    sets[3].connectivity = 1.0;
    sets[3].min_patches = 2;
    sets[3].max_passes = 2;
    return sets;
}

// Trees of one batch at every level and thread count; returns the digest of the scalar level's.
std::uint64_t check_levels(const std::vector<Image>& images, const claid::Options& options,
                           std::uint64_t state) {
    std::vector<claid::Features> batch;
    for (const Image& image : images) batch.push_back(image.features());
    claid::use_simd_level("scalar");
    const auto expected = claid::decompose(batch, options, claid::kernels(), 1);
    for (const claid::RegionTree& tree : expected) state = digest(tree, state);
    for (const std::string& level : claid::simd_levels()) {
        claid::use_simd_level(level);
        for (const std::size_t threads : {1, 5}) {
            const auto trees = claid::decompose(batch, options, claid::kernels(), threads);
            for (std::size_t i = 0; i < batch.size(); ++i) CHECK(same(trees[i], expected[i]));
        }
        const auto alone = claid::decompose(batch.back(), options, claid::kernels(), 2);
        CHECK(same(alone, expected.back()));
    }
    return state;
}

}  // namespace

int main() {
    std::vector<Image> images;
    for (const auto& [height, width, dims] :
         std::vector<std::array<std::int32_t, 3>>{{1, 1, 1},
                                                  {1, 2, 3},
                                                  {3, 1, 17},
                                                  {8, 8, 31},
                                                  {7, 19, 32},
                                                  {12, 12, 65},
                                                  {21, 25, 100}}) {
        for (const float noise : {0.0F, 0.4F, 2.0F}) {
            images.push_back(
                make_image(height, width, static_cast<std::size_t>(dims), noise, images.size()));
        }
    }
    std::uint64_t state = 0;
    for (const claid::Options& options : option_sets())
        state = check_levels(images, options, state);
    // Sums whose upper halves leave much out.
    state = check_levels({make_image(91, 100, 3, 0.3F, 77)}, {}, state);

    for (const std::string& level : claid::simd_levels()) {
        claid::use_simd_level(level);
        for (const double tau : {-1.0, 0.2, 0.9, 1.0}) {
            check_affinity(make_image(9, 15, 45, 0.5F, 5), tau, claid::kernels());
        }
        check_k_sums(make_image(6, 9, 20, 1.0F, 6), claid::kernels());
    }
    std::printf("SIMD levels:");
    for (const std::string& level : claid::simd_levels()) std::printf(" %s", level.c_str());
    std::printf("\ndigest %016llx\n1 passed, 0 failed\n", static_cast<unsigned long long>(state));
    return 0;
}

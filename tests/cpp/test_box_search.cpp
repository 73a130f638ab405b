// The box search by itself, for sanitizers and for processors without Python at hand: every SIMD
// level and thread count on maps of all sizes and kinds, held to the scalar level's scores. The
// Python tests hold these to the reference.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <variant>
#include <vector>

#include "check.hpp"
#include "claid/box_search.hpp"
#include "claid/simd/dispatch.hpp"
#include "claid/visiting_order.hpp"

namespace {

constexpr double kTolerance = 1e-4;

// Integer-made noise, so that no library function differs between machines.
class Noise {
  public:
    explicit Noise(std::uint64_t seed) : state_(seed) {}
    std::uint64_t next() { return claid::mix(state_++); }
    float uniform() { return static_cast<float>(next() >> 40) / 8388608.0F - 1.0F; }
    std::vector<float> units(std::size_t rows, std::size_t dims, float length = 1.0F) {
        std::vector<float> values(rows * dims);
        for (std::size_t r = 0; r < rows; ++r) {
            float squares = 0.0F;
            for (std::size_t k = 0; k < dims; ++k) {
                const float value = uniform();
                values[r * dims + k] = value;
                squares += value * value;
            }
            for (std::size_t k = 0; k < dims; ++k) {
                values[r * dims + k] *= length / std::sqrt(squares);
            }
        }
        return values;
    }

  private:
    std::uint64_t state_;
};

enum class Kind { codes, half, single };

struct Setting {
    std::size_t height, width;
    Kind kind;
    std::size_t dims16, dims32, templates, cells, regions;
};

// Everything a search needs, in memory of exactly its size, so that a sanitizer sees a step beyond.
struct Case {
    std::vector<std::uint8_t> codes16, codes32;
    std::vector<std::uint16_t> half16, half32;
    std::vector<float> single16, single32, book16, book32;
    std::vector<float> parts, means, sides, cells, regions;
    claid::PhotoMaps photo{};
    claid::BoxQuery query{};

    Case(const Setting& set, std::uint64_t seed) {
        Noise random(seed);
        const std::size_t height32 = (set.height + 1) / 2, width32 = (set.width + 1) / 2;
        book16 = random.units(claid::kSubspaces * claid::kCentroids, claid::kSubspaceDims, 0.25F);
        book32 = random.units(claid::kSubspaces * claid::kCentroids, claid::kSubspaceDims, 0.25F);
        photo.width = static_cast<double>(set.width) * 16.0 - 5.0;
        photo.height = static_cast<double>(set.height) * 16.0 - 3.0;
        photo.e16 = {cells_of(set.kind, set.height * set.width, set.dims16, random, codes16, half16,
                              single16, book16),
                     set.height,
                     set.width,
                     set.dims16,
                     16.0,
                     16.0};
        photo.e32 = {cells_of(set.kind, height32 * width32, set.dims32, random, codes32, half32,
                              single32, book32),
                     height32,
                     width32,
                     set.dims32,
                     32.0,
                     32.0};
        for (std::size_t r = 0; r < set.regions; ++r) {
            const auto width = static_cast<float>(photo.width);
            const auto height = static_cast<float>(photo.height);
            const float x = width * 0.4F * (1.0F + random.uniform());
            const float y = height * 0.4F * (1.0F + random.uniform());
            regions.insert(regions.end(), {x, y, x + width * 0.2F, y + height * 0.15F});
        }
        photo.regions = regions.data();
        photo.region_count = set.regions;
        parts = random.units(set.templates * claid::kParts, set.dims16);
        means = random.units(set.templates, set.dims32);
        for (std::size_t t = 0; t < set.templates; ++t) {
            sides.push_back(24.0F * static_cast<float>(t + 1));
        }
        cells = random.units(set.cells, set.dims16);
        query = {set.templates, set.dims16,   set.dims32, parts.data(), means.data(),
                 sides.data(),  cells.data(), set.cells,  1.3,          16.0};
    }
    Case(const Case&) = delete;
    Case& operator=(const Case&) = delete;

    static std::variant<claid::CodedCells, claid::HalfCells, claid::FloatCells> cells_of(
        Kind kind, std::size_t count, std::size_t dims, Noise& random,
        std::vector<std::uint8_t>& codes, std::vector<std::uint16_t>& half,
        std::vector<float>& single, const std::vector<float>& book) {
        switch (kind) {
            case Kind::codes:
                codes.resize(count * claid::kSubspaces);
                for (auto& code : codes) code = static_cast<std::uint8_t>(random.next());
                return claid::CodedCells{codes.data(), book.data()};
            case Kind::half:
                half.resize(count * dims);
                // Signs, exponents of 2^-3 to 2^-4, any mantissa.
                for (auto& value : half) {
                    const std::uint64_t bits = random.next();
                    value = static_cast<std::uint16_t>((bits & 0x83FFU) |
                                                       ((11U + (bits >> 20U) % 2U) << 10U));
                }
                return claid::HalfCells{half.data()};
            case Kind::single:
                break;
        }
        single = random.units(count, dims);
        return claid::FloatCells{single.data()};
    }
};

bool same(const claid::Box& a, const claid::Box& b) {
    return a.x0 == b.x0 && a.y0 == b.y0 && a.x1 == b.x1 && a.y1 == b.y1;
}

bool inside(const claid::Box& box, const claid::PhotoMaps& photo) {
    return box.x0 >= 0.0 && box.y0 >= 0.0 && box.x1 <= photo.width && box.y1 <= photo.height &&
           box.x0 < box.x1 && box.y0 < box.y1;
}

void check_levels(const Case& made, const claid::BoxSearchOptions& options) {
    const std::vector<claid::PhotoMaps> photos(3, made.photo);
    claid::use_simd_level("scalar");
    const auto wanted =
        claid::box_search(photos, made.query, options, claid::simd_level(), 1, true);
    for (const claid::Box& box : wanted[0].boxes) CHECK(inside(box, made.photo));
    for (const std::string& level : claid::simd_levels()) {
        claid::use_simd_level(level);
        const auto found =
            claid::box_search(photos, made.query, options, claid::simd_level(), 1, true);
        const auto threaded =
            claid::box_search(photos, made.query, options, claid::simd_level(), 3, true);
        CHECK(found.size() == photos.size());
        CHECK(found[0].count == wanted[0].count && found[0].coarse == wanted[0].coarse);
        for (std::size_t b = 0; b < found[0].coarse; ++b) {
            CHECK(same(found[0].boxes[b], wanted[0].boxes[b]));
            CHECK(std::abs(found[0].scores[b] - wanted[0].scores[b]) < kTolerance);
        }
        CHECK(std::abs(found[0].score - wanted[0].score) < kTolerance);
        for (std::size_t i = 0; i < photos.size(); ++i) {
            CHECK(same(found[i].box, found[0].box) && same(threaded[i].box, found[0].box));
            CHECK(threaded[i].score == found[0].score && threaded[i].scores == found[0].scores);
        }
    }
}

}  // namespace

int main() {
    const std::vector<Setting> settings = {
        {1, 1, Kind::codes, 64, 64, 1, 0, 0},      {1, 1, Kind::single, 1, 3, 2, 1, 1},
        {1, 9, Kind::codes, 64, 64, 3, 5, 1},      {9, 1, Kind::half, 64, 64, 9, 17, 40},
        {13, 17, Kind::codes, 64, 64, 9, 100, 36}, {11, 8, Kind::single, 112, 320, 4, 33, 5},
        {7, 10, Kind::half, 40, 17, 2, 16, 16},
    };
    std::uint64_t seed = 0;
    for (const Setting& set : settings) {
        claid::BoxSearchOptions options;
        options.rounds = 2;
        const Case made(set, ++seed);
        check_levels(made, options);
        options.stride_divisor = 2.0;
        options.rounds = 0;
        check_levels(made, options);
    }
    std::printf("SIMD levels:");
    for (const std::string& level : claid::simd_levels()) std::printf(" %s", level.c_str());
    std::printf("\n");
    return claid::test::summary();
}

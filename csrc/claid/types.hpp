// What goes into a decomposition and what comes out of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace claid {

// The sums of a node stay inside their integer types up to this many patches.
inline constexpr std::size_t kMaxPatches = 65535;

// Patches in rows and columns; patch p lies at (p / width, p % width).
struct Grid {
    std::int32_t height;
    std::int32_t width;

    [[nodiscard]] std::size_t patches() const {
        return static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
    }
};

// One image's patch features, row-major, a row per patch of the grid.
struct Features {
    const float* values;  // [N, D]
    std::size_t dims;     // D
    Grid grid;            // N = grid.patches()
};

// A feature is NaN or infinite as float32: the first of the batch, in reading order.
struct NotFiniteError : std::invalid_argument {
    NotFiniteError(std::size_t image, std::size_t row, std::size_t column, double value)
        : std::invalid_argument("a feature is not finite"),
          image(image),
          row(row),
          column(column),
          value(value) {}

    std::size_t image, row, column;
    double value;
};

enum class Start { seeds, random };

// The rules that the authors' released program applies differently from the paper.
enum class Rules { paper, released };

struct Options {
    double tau = 0.2;               // Eq. 5
    double connectivity = 0.97;     // bisect below it, section III-C
    double energy_top = 0.3;        // share of patches in H, section III-D
    double dominance = 0.2;         // dummy at or below it, section III-D
    std::int64_t min_patches = 15;  // smaller components are dropped
    Start start = Start::seeds;     // section III-B
    std::uint64_t seed = 0;         // of the visiting orders
    std::int64_t max_passes = 500;  // k-sums sweeps a node
    Rules rules = Rules::paper;
};

inline constexpr std::int32_t kRoot = -1;

struct Region {
    std::int32_t parent = kRoot;
    std::int32_t level = 1;
    std::int32_t size = 0;
    double connectivity = 0.0;  // Eq. 9
    double dominance = 0.0;     // Eq. 10
    bool dummy = false;
    std::int32_t box[4] = {0, 0, 0, 0};  // x0, y0, x1, y1 in patches, x1 and y1 exclusive
};

// The hierarchy of one image. Region r holds members[offsets[r]] .. members[offsets[r + 1] - 1].
struct RegionTree {
    std::vector<Region> regions;
    std::vector<std::int64_t> offsets = {0};
    std::vector<std::uint16_t> members;  // patch indices, ascending within a region
    std::int64_t cuts = 0;
    std::int64_t moves = 0;
};

}  // namespace claid

#include "claid/affinity.hpp"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "claid/parallel.hpp"

namespace claid {
namespace {

constexpr double kQ15OneSquared = kQ15One * kQ15One;  // 1073676289

// A block of columns stays in the L2 cache while the rows pass by it.
constexpr std::size_t kColumnBlockBytes = 256 * 1024;

// Rows of one task: enough tiles to be worth handing out, few enough to share evenly.
constexpr std::size_t kTaskRows = 4 * kWordBits;

class Tiles {
  public:
    Tiles(const Q15Rows& q15, double tau, const Kernels& simd, BitGraph& graph)
        : q15_(q15),
          simd_(simd),
          graph_(graph),
          threshold_(affinity_threshold(tau)),
          pairs_((q15.dims + 1) / 2) {}

    // Rows first_row .. last_row - 1 against the columns of a block that reach the diagonal.
    void compute(std::size_t first_row, std::size_t last_row, std::size_t first_column,
                 std::size_t last_column) const {
        std::uint32_t bits[kWordBits];
        const std::size_t width = simd_.tile_columns;
        last_row = std::min(last_row, q15_.patches);
        last_column = std::min(last_column, q15_.patches);
        for (std::size_t row = first_row; row < last_row; row += simd_.tile_rows) {
            const std::int16_t* row_panel = panel(row) + 2 * (row % width);
            const std::size_t diagonal = row / width * width;
            for (std::size_t column = std::max(first_column, diagonal); column < last_column;
                 column += width) {
                simd_.affinity_tile(row_panel, panel(column), pairs_, threshold_, bits);
                store(row, column, bits);
            }
        }
    }

  private:
    [[nodiscard]] const std::int16_t* panel(std::size_t patch) const {
        return q15_.panel(patch / simd_.tile_columns * simd_.tile_columns);
    }

    void store(std::size_t row, std::size_t column, const std::uint32_t* bits) const {
        const std::size_t inside = std::min(simd_.tile_columns, q15_.patches - column);
        const std::uint64_t mask = (std::uint64_t{1} << inside) - 1;
        const std::size_t shift = column % kWordBits;
        std::uint64_t* word = graph_.rows.data() + row * graph_.words + column / kWordBits;
        const std::size_t rows = std::min(simd_.tile_rows, q15_.patches - row);
        for (std::size_t r = 0; r < rows; ++r, word += graph_.words) {
            const std::uint64_t kept = shift == 0 ? 0 : *word;
            *word = kept | (bits[r] & mask) << shift;
        }
    }

    const Q15Rows& q15_;
    const Kernels& simd_;
    BitGraph& graph_;
    std::int32_t threshold_;
    std::size_t pairs_;
};

// Swaps ever smaller off-diagonal quarters.
void transpose(std::uint64_t (&block)[kWordBits]) {
    std::uint64_t mask = 0x00000000FFFFFFFF;
    for (std::size_t half = kWordBits / 2; half > 0; half /= 2, mask ^= mask << half) {
        for (std::size_t top = 0; top < kWordBits; top += 2 * half) {
            for (std::size_t r = top; r < top + half; ++r) {
                const std::uint64_t swapped = (block[r] >> half ^ block[r + half]) & mask;
                block[r] ^= swapped << half;
                block[r + half] ^= swapped;
            }
        }
    }
}

// Fills row block `block` left of the diagonal from the columns above it.
void mirror(BitGraph& graph, std::size_t block) {
    std::uint64_t bits[kWordBits];
    std::uint64_t* rows = graph.rows.data() + block * kWordBits * graph.words;
    for (std::size_t left = 0; left <= block; ++left) {
        const std::uint64_t* above = graph.rows.data() + left * kWordBits * graph.words + block;
        for (std::size_t r = 0; r < kWordBits; ++r) bits[r] = above[r * graph.words];
        transpose(bits);
        const bool on_diagonal = left == block;
        for (std::size_t r = 0; r < kWordBits; ++r) {
            std::uint64_t& word = rows[r * graph.words + left];
            const std::uint64_t self = std::uint64_t{1} << r;
            word = on_diagonal ? (word | bits[r]) & ~self : bits[r];
        }
    }
}

}  // namespace

std::int32_t affinity_threshold(double tau) {
    return static_cast<std::int32_t>(std::floor(tau * kQ15OneSquared));
}

BitGraph affinity(const Q15Rows& q15, double tau, const Kernels& simd, std::size_t threads) {
    BitGraph graph(q15.patches);
    const Tiles tiles(q15, tau, simd, graph);
    const std::size_t padded = q15.padded_patches();
    const std::size_t row_bytes = q15.stride * sizeof(std::int16_t);
    const std::size_t block =
        std::max(kWordBits, kColumnBlockBytes / row_bytes / kWordBits * kWordBits);

    // The diagonal's words are only joined to, never written whole, where a tile starts inside one.
    for (std::size_t row = 0; row < q15.patches; ++row) {
        graph.rows[row * graph.words + row / kWordBits] = 0;
    }
    std::fill(graph.rows.data() + q15.patches * graph.words, graph.rows.data() + graph.rows.size(),
              0);                                            // no patch, no link
    std::vector<std::pair<std::size_t, std::size_t>> tasks;  // first row, first column
    for (std::size_t column = 0; column < padded; column += block) {
        const std::size_t rows = std::min(column + block, padded);
        for (std::size_t row = 0; row < rows; row += threads > 1 ? kTaskRows : rows) {
            tasks.emplace_back(row, column);
        }
    }
    parallel_for(tasks.size(), threads, [&](std::size_t task) {
        const auto [row, column] = tasks[task];
        const std::size_t last_column = std::min(column + block, padded);
        const std::size_t last_row =
            threads > 1 ? std::min(row + kTaskRows, last_column) : last_column;
        tiles.compute(row, last_row, column, last_column);
    });
    parallel_for(padded / kWordBits, threads, [&](std::size_t b) { mirror(graph, b); });
    return graph;
}

}  // namespace claid

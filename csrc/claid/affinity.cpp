#include "claid/affinity.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "claid/int8_rows.hpp"
#include "claid/parallel.hpp"

namespace claid {
namespace {

constexpr double kQ15OneSquared = kQ15One * kQ15One;  // 1073676289

// A block of columns stays in the L2 cache while the rows pass by it.
constexpr std::size_t kColumnBlockBytes = 256 * 1024;

// Rows of one task: enough tiles to be worth handing out, few enough to share evenly.
constexpr std::size_t kTaskRows = 4 * kWordBits;

// Rows interleaved for the int16 tiles, kWordBits at a time when the first tile asks for them.
class Int16Panels {
  public:
    Int16Panels(const Q15Rows& q15, const Kernels& simd)
        : q15_(q15),
          simd_(simd),
          packed_(q15.padded_patches() / kWordBits),
          storage_(q15.padded_patches() * q15.stride) {}

    // The panel that holds this patch; as wide as a tile.
    [[nodiscard]] const std::int16_t* holding(std::size_t patch) {
        std::call_once(packed_[patch / kWordBits], [&] { pack(patch / kWordBits * kWordBits); });
        return at(patch / simd_.tile_columns * simd_.tile_columns);
    }
    [[nodiscard]] std::size_t pairs() const { return (q15_.dims + 1) / 2; }

  private:
    [[nodiscard]] std::int16_t* at(std::size_t patch) {
        return storage_.data() + patch * q15_.stride;
    }
    void pack(std::size_t first) {
        for (std::size_t row = first; row < first + kWordBits; row += simd_.tile_columns) {
            simd_.pack_panel(q15_.row(row), q15_.stride, pairs(), at(row));
        }
    }

    const Q15Rows& q15_;
    const Kernels& simd_;
    std::vector<std::once_flag> packed_;
    AlignedArray<std::int16_t> storage_;
};

// Decides for each tile whether the filter is worth trying, so that a graph it cannot decide costs
// little more than one without: a tile is paid for out of what those before have saved, and each
// tile without the filter allows a little more. Costs are in steps of an int16 tile.
class FilterBudget {
  public:
    FilterBudget(double exact_cost, double filter_cost)
        : exact_cost_(exact_cost), filter_cost_(filter_cost) {}

    [[nodiscard]] bool allows() const { return balance_ >= 0.0; }
    // After a tile of the filter whose undecided pairs cost `undecided`.
    void settle(double undecided) {
        balance_ += exact_cost_ - filter_cost_ - undecided;
        balance_ = std::min(balance_, kMostSavedTiles * exact_cost_);
    }
    void allow() { balance_ += kAllowance * exact_cost_; }

  private:
    static constexpr double kAllowance = 1.0 / 64.0;
    // What was saved longer ago is not spent, so that a change is noticed soon.
    static constexpr double kMostSavedTiles = 4.0;

    double exact_cost_, filter_cost_, balance_ = 0.0;
};

class Tiles {
  public:
    Tiles(const Q15Rows& q15, std::int32_t threshold, const Kernels& simd, const Int8Rows* int8,
          BitGraph& graph)
        : q15_(q15),
          simd_(simd),
          int8_(int8),
          graph_(graph),
          panels_(q15, simd),
          threshold_(threshold),
          tile_rows_(int8 != nullptr ? simd.filter->tile_rows : simd.tile_rows) {}

    // Rows first_row .. last_row - 1 against the columns of a block that reach the diagonal.
    void compute(std::size_t first_row, std::size_t last_row, std::size_t first_column,
                 std::size_t last_column) {
        const std::size_t width = simd_.tile_columns;
        last_row = std::min(last_row, q15_.patches);
        last_column = std::min(last_column, q15_.patches);
        Undecided undecided(tile_rows_, first_column, last_column);
        FilterBudget budget(exact_cost(), int8_ != nullptr ? filter_cost() : 0.0);
        for (std::size_t row = first_row; row < last_row; row += tile_rows_) {
            const std::size_t diagonal = row / width * width;
            for (std::size_t column = std::max(first_column, diagonal); column < last_column;
                 column += width) {
                if (int8_ != nullptr && budget.allows()) {
                    budget.settle(filter(row, column, undecided));
                } else {
                    decide(row, column);
                    budget.allow();
                }
            }
            decide(row, undecided);
        }
    }

  private:
    // Pairs of one row of tiles that the filter left open, as bits.
    class Undecided {
      public:
        Undecided(std::size_t rows, std::size_t first_column, std::size_t last_column)
            : first_word_(first_column / kWordBits),
              words_(round_up(last_column, kWordBits) / kWordBits - first_word_),
              bits_(rows * words_, 0) {}

        void add(std::size_t r, std::size_t column, std::uint64_t bits) {
            bits_[r * words_ + column / kWordBits - first_word_] |= bits << (column % kWordBits);
            any_ |= bits != 0;
        }
        // Calls body(column) for each pair of row r and empties the row.
        template <class Body>
        void take(std::size_t r, const Body& body) {
            for (std::size_t w = 0; w < words_; ++w) {
                std::uint64_t& bits = bits_[r * words_ + w];
                for (; bits != 0; bits &= bits - 1) {
                    body((first_word_ + w) * kWordBits +
                         static_cast<std::size_t>(std::countr_zero(bits)));
                }
            }
        }
        [[nodiscard]] bool any() const { return any_; }
        void clear() { any_ = false; }

      private:
        std::size_t first_word_, words_;
        std::vector<std::uint64_t> bits_;
        bool any_ = false;
    };

    // Steps of an int16 tile that a tile of tile_rows_ takes in int16, in int8 and, for one pair,
    // in a dot product of its own: about three times a pair's share of a tile, and its sum.
    [[nodiscard]] double exact_cost() const {
        return static_cast<double>(panels_.pairs() * exact_tiles());
    }
    [[nodiscard]] std::size_t exact_tiles() const { return tile_rows_ / simd_.tile_rows; }
    [[nodiscard]] double filter_cost() const {
        constexpr double kComparisonSteps = 6.0;
        const double steps = static_cast<double>(panels_.pairs()) / simd_.filter->speed;
        return (steps + kComparisonSteps) * static_cast<double>(exact_tiles());
    }
    [[nodiscard]] double pair_cost() const {
        const double share = static_cast<double>(panels_.pairs()) /
                             static_cast<double>(simd_.tile_rows * simd_.tile_columns);
        return 3.0 * share + 1.0;
    }

    // Decides a tile in int8 as far as that goes; what the pairs that it leaves open will cost.
    double filter(std::size_t row, std::size_t column, Undecided& open) {
        std::uint32_t linked[kWordBits], undecided[kWordBits];
        const int count =
            simd_.filter->tile(int8_->row(row), int8_->stride, int8_->panel(column),
                               int8_->bounds(row), int8_->columns(column), linked, undecided);
        const std::size_t rows = std::min(tile_rows_, q15_.patches - row);
        const std::uint64_t inside = columns_inside(column);
        const double cost = pair_cost() * count;
        if (cost > exact_cost()) {
            decide(row, column);
            return exact_cost();
        }
        store(row, column, linked, tile_rows_);
        for (std::size_t r = 0; r < rows; ++r) open.add(r, column, undecided[r] & inside);
        return cost;
    }

    // Decides a tile in int16.
    void decide(std::size_t row, std::size_t column) {
        std::uint32_t bits[kWordBits];
        for (std::size_t r = row; r < std::min(row + tile_rows_, q15_.patches);
             r += simd_.tile_rows) {
            const std::int16_t* row_panel = panels_.holding(r) + 2 * (r % simd_.tile_columns);
            simd_.affinity_tile(row_panel, panels_.holding(column), panels_.pairs(), threshold_,
                                bits);
            store(r, column, bits, simd_.tile_rows);
        }
    }

    // Decides pairs one by one.
    void decide(std::size_t first_row, Undecided& open) {
        if (!open.any()) return;
        for (std::size_t r = 0; r < tile_rows_; ++r) {
            const std::int16_t* row = q15_.row(first_row + r);
            std::uint64_t* words = graph_.rows.data() + (first_row + r) * graph_.words;
            const std::int16_t* others[kVisitBatch];
            std::size_t columns[kVisitBatch], count = 0;
            const auto settle = [&] {
                std::int32_t dots[kVisitBatch];
                std::fill(others + count, others + kVisitBatch, others[0]);
                simd_.dot_batch(row, others, q15_.stride, dots);
                for (std::size_t j = 0; j < count; ++j) {
                    const std::uint64_t bit = dots[j] > threshold_ ? 1 : 0;
                    words[columns[j] / kWordBits] |= bit << (columns[j] % kWordBits);
                }
                count = 0;
            };
            open.take(r, [&](std::size_t column) {
                others[count] = q15_.row(column);
                columns[count] = column;
                if (++count == kVisitBatch) settle();
            });
            if (count > 0) settle();
        }
        open.clear();
    }

    [[nodiscard]] std::uint64_t columns_inside(std::size_t column) const {
        const std::size_t inside = std::min(simd_.tile_columns, q15_.patches - column);
        return (std::uint64_t{1} << inside) - 1;
    }

    void store(std::size_t row, std::size_t column, const std::uint32_t* bits,
               std::size_t tile_rows) {
        const std::uint64_t mask = columns_inside(column);
        const std::size_t shift = column % kWordBits;
        std::uint64_t* word = graph_.rows.data() + row * graph_.words + column / kWordBits;
        const std::size_t rows = std::min(tile_rows, q15_.patches - row);
        for (std::size_t r = 0; r < rows; ++r, word += graph_.words) {
            const std::uint64_t kept = shift == 0 ? 0 : *word;
            *word = kept | (bits[r] & mask) << shift;
        }
    }

    const Q15Rows& q15_;
    const Kernels& simd_;
    const Int8Rows* int8_;  // null without the filter
    BitGraph& graph_;
    Int16Panels panels_;
    std::int32_t threshold_;
    std::size_t tile_rows_;
};

// Where the filter can save more than the int8 rows cost, also when it decides nothing.
bool filter_pays(const Q15Rows& q15, const Kernels& simd) {
    constexpr std::size_t kFewestPatches = 512, kFewestDims = 128;
    return simd.filter != nullptr && q15.patches >= kFewestPatches && q15.dims >= kFewestDims &&
           q15.dims <= kMaxFilterDims;
}

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
    const std::int32_t threshold = affinity_threshold(tau);
    std::optional<Int8Rows> int8;
    if (filter_pays(q15, simd)) {
        int8.emplace(q15, threshold, *simd.filter, simd.tile_columns, threads);
    }
    Tiles tiles(q15, threshold, simd, int8 ? &*int8 : nullptr, graph);
    const std::size_t padded = q15.padded_patches();
    const std::size_t row_bytes = int8 ? int8->stride : q15.stride * sizeof(std::int16_t);
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

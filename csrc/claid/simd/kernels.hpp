// The inner loops, one table a SIMD level, chosen at run time. Every level gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace claid {

// Rows are padded with zeros to a multiple of this many int16, whole vectors at every level.
inline constexpr std::size_t kRowMultiple = 32;

// Bits of the affinity are kept in words of 64; tiles never cross a word.
inline constexpr std::size_t kWordBits = 64;

// Dot products are worked out this many at a time where several are wanted, so that their loads
// overlap.
inline constexpr std::size_t kVisitBatch = 4;

// Products of rows of length 32767 are right to about 2^14 of 2^30; the number of a row fits below.
inline constexpr int kMatchBits = 12;
inline constexpr std::int32_t kMatchMask = (1 << kMatchBits) - 1;

struct RowNorms {
    double squared_norm;  // sum of X^2; not finite when the row is not
    double energy;        // sum of |X|
};

// Rows are spread over blocks of this many dimensions before they are brought to int8.
inline constexpr std::size_t kSpreadBlock = 64;

// Dimension k of a block is negated where bit k is set: the first output of splitmix64 from 0.
// No bound depends on the signs, only how evenly rows spread.
inline constexpr std::uint64_t kSpreadSigns = 0xE220A8397B1DCDAF;

// More dimensions than this could leave int32 (255 * 127 each) or the margins of the float32 sums.
inline constexpr std::size_t kMaxFilterDims = 16384;

// W q = scale * a + e for a row q and its int8 form a.
struct Int8Row {
    float scale;              // a whole number, at least 1
    float remainder_squared;  // e . e, summed in float32
    std::int32_t sum;         // of a's elements
};

// What a tile of the filter compares a row's products d = a_i . a_j with, for each column j:
//     linked      if d >  above * unit_j + unit * reach_j
//     not linked  if d <= below * unit_j - unit * reach_j
struct FilterRow {
    float above, below, unit;
    std::int32_t sum;  // of the row's elements
};
struct FilterColumns {
    const float* unit;
    const float* reach;
};

// The filter in int8, at levels where its products are faster than those of int16.
struct FilterKernels {
    // Rows of a filter tile, a multiple of an affinity tile's; its columns are the same.
    std::size_t tile_rows;

    // Its products in the time of one of int16, about.
    double speed;

    // The largest magnitude in int8 rows.
    std::int32_t most;

    // Spreads a row, brings it to int8 and pads it with zeros to a multiple of kSpreadBlock.
    Int8Row (*to_int8)(const std::int16_t* q, std::size_t padded, std::int8_t* a);

    // Interleaves the rows of a panel as filter_tile reads them; stride is a multiple of
    // kSpreadBlock.
    void (*pack_panel)(const std::int8_t* rows, std::size_t stride, std::int8_t* panel);

    // Bit c of linked[r]: the pair of row r and column c is linked; of undecided[r]: not known.
    // Returns how many are not known.
    int (*tile)(const std::int8_t* rows, std::size_t stride, const std::int8_t* column_panel,
                const FilterRow* bounds, FilterColumns columns, std::uint32_t* linked,
                std::uint32_t* undecided);
};

struct Kernels {
    const char* level;

    // An affinity tile is tile_rows x tile_columns patches; both divide kWordBits.
    std::size_t tile_rows;
    std::size_t tile_columns;

    // Both sums in the contract's fixed order of 16 lanes.
    RowNorms (*row_norms)(const float* row, std::size_t dims);

    // q[k] = rint(row[k] * scale), zeros from dims to padded.
    void (*quantise)(const float* row, std::size_t dims, double scale, std::int16_t* q,
                     std::size_t padded);

    // Interleaves tile_columns rows: panel[pair][column] is int16 elements 2 pair, 2 pair + 1.
    void (*pack_panel)(const std::int16_t* rows, std::size_t stride, std::size_t pairs,
                       std::int16_t* panel);

    // bits[r] bit c = (row r of the tile . column c of the panel > threshold). Rows come from a
    // panel as well, starting at some row of it.
    void (*affinity_tile)(const std::int16_t* row_panel, const std::int16_t* column_panel,
                          std::size_t pairs, std::int32_t threshold, std::uint32_t* bits);

    // best[c] = max(best[c], row r of the tile . column c of the panel) over the tile's rows, whose
    // numbers, from first_row on, replace the product's last kMatchBits. Panels as above.
    void (*match_tile)(const std::int16_t* row_panel, const std::int16_t* column_panel,
                       std::size_t pairs, std::int32_t first_row, std::int32_t* best);

    // Null at levels that have none.
    const FilterKernels* filter;

    std::int32_t (*dot)(const std::int16_t* a, const std::int16_t* b, std::size_t padded);

    // out[j] = row . others[j] for kVisitBatch others.
    void (*dot_batch)(const std::int16_t* row, const std::int16_t* const* others,
                      std::size_t padded, std::int32_t* out);

    // out[i] = popcount(row patches[i] of the affinity AND membership), words first .. last - 1.
    void (*degrees)(const std::uint64_t* rows, std::size_t words, const std::uint16_t* patches,
                    std::size_t count, const std::uint64_t* membership, std::size_t first,
                    std::size_t last, std::uint32_t* out);

    // sum[k] += factor * q[k]
    void (*add_row)(std::int32_t* sum, const std::int16_t* q, std::int32_t factor,
                    std::size_t padded);

    // The same, and then upper[k] = sum[k] / 2^shift rounded to the nearest, which fits int16.
    void (*add_row_and_narrow)(std::int32_t* sum, const std::int16_t* q, std::int32_t factor,
                               int shift, std::int16_t* upper, std::size_t padded);

    // row . sum
    std::int64_t (*dot_wide)(const std::int16_t* row, const std::int32_t* sum, std::size_t padded);
};

// One table a level; each is defined in the file of its name.
const Kernels* scalar_kernels();
const Kernels* avx2_kernels();
const Kernels* avxvnni_kernels();
const Kernels* avx512_kernels();
const Kernels* avx512vnni_kernels();
const Kernels* amx_kernels();
const Kernels* neon_kernels();
const Kernels* dotprod_kernels();
const Kernels* i8mm_kernels();

}  // namespace claid

// An image of a batch and what is found about it, as the kernels see them.
#pragma once

#include <cstdint>

#include "claid/types.hpp"
#include "cuda/decompose.hpp"

namespace claid::cuda {

// Patches are padded to whole affinity tiles, so that no kernel looks at their edges.
inline constexpr std::uint32_t kTile = 128;

// Rows are padded with zeros to whole steps of the affinity kernel.
inline constexpr std::uint32_t kRowStep = 32;

inline constexpr std::uint32_t kLinkBits = 32;

// Pointers are into device memory.
struct Image {
    FeatureView features;
    std::uint32_t patches = 0;        // N
    std::uint32_t padded = 0;         // N in whole tiles
    std::uint32_t stride = 0;         // D in whole steps
    std::uint32_t high_count = 0;     // m, section III-D: patches that are of high energy, at least
    std::int16_t* rows = nullptr;     // [padded, stride], Q15
    std::int32_t* squares = nullptr;  // [padded], f_i = q_i . q_i
    float* energy = nullptr;          // [padded]
    std::uint32_t* high = nullptr;    // [padded / 32], H as bits
    std::uint32_t* links = nullptr;   // [padded, padded / 32], the affinity A as bits
    std::int32_t* products = nullptr;  // [padded, padded], q_i . q_j; null where memory is short

    [[nodiscard]] constexpr std::uint32_t words() const { return padded / kLinkBits; }
    [[nodiscard]] constexpr std::uint32_t width() const {
        return static_cast<std::uint32_t>(features.grid.width);
    }
};

inline constexpr std::uint32_t kNoRecord = 0xFFFFFFFF;

// A region, or an image's root, as found; numbering.hpp brings them in the contract's order.
struct Record {
    std::uint64_t first_member = 0;  // in the members of all regions; a root has none there
    double connectivity = 0.0;       // Eq. 9
    double dominance = 0.0;          // Eq. 10
    std::uint32_t parent = kNoRecord;
    std::uint32_t image = 0;
    std::uint32_t size = 0;
    std::uint32_t lowest_patch = 0;
    std::uint32_t cluster = 0;
    std::int32_t box[4] = {0, 0, 0, 0};
    std::uint32_t unused = 0;  // so that no byte of a record is left unwritten
};
static_assert(sizeof(Record) == 64);

// Sums over the bisections of one image.
struct Totals {
    std::uint64_t cuts;
    std::uint64_t moves;
    std::uint64_t rounds;             // of k-sums: moves, and visits that found none
    std::uint64_t products;           // looked up or computed for the moves
    std::uint64_t busy_nanoseconds;   // of blocks at work on the image's nodes
    std::uint64_t sweep_nanoseconds;  // of which in k-sums
};

inline constexpr std::uint64_t kAllFinite = 0xFFFFFFFFFFFFFFFF;

// Place of a feature that is not finite, such that the first in reading order is the least.
struct NotFinitePlace {
    static constexpr int kImageShift = 48, kRowShift = 32;
    static constexpr std::uint64_t of(std::uint64_t image, std::uint64_t row,
                                      std::uint64_t column) {
        return image << kImageShift | row << kRowShift | column;
    }
    static constexpr std::uint64_t image(std::uint64_t place) { return place >> kImageShift; }
    static constexpr std::uint64_t row(std::uint64_t place) { return place >> kRowShift & 0xFFFF; }
    static constexpr std::uint64_t column(std::uint64_t place) { return place & 0xFFFFFFFF; }
};

struct Counters {
    std::uint64_t members;     // given out
    std::uint64_t not_finite;  // the first NotFinitePlace, or kAllFinite
    std::uint32_t records;     // given out
    std::uint32_t next;        // record that the next block without work waits for
    std::uint32_t pending;     // records published and not yet done with
    std::uint32_t overflow;    // 1 when records or members did not fit
};

// The regions of a batch, and the queue of those to be measured and bisected: a record is its own
// place in the queue.
struct Work {
    const Image* images;
    Record* records;       // [record_capacity]
    std::uint32_t* ready;  // [record_capacity], 1 when the record may be taken
    std::uint16_t* members;
    Totals* totals;  // [images]
    Counters* counters;
    std::uint32_t record_capacity;
    std::uint64_t member_capacity;
};

}  // namespace claid::cuda

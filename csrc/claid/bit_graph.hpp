// The affinity graph of an image as one bit a pair of patches: N^2 / 8 bytes.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "claid/memory.hpp"
#include "claid/simd/kernels.hpp"

namespace claid {

struct BitGraph {
    BitGraph() = default;
    explicit BitGraph(std::size_t patches)
        : words(round_up(patches, kWordBits) / kWordBits),
          rows(round_up(patches, kWordBits) * words) {}

    [[nodiscard]] bool linked(std::size_t i, std::size_t j) const {
        return (rows[i * words + j / kWordBits] >> (j % kWordBits) & 1) != 0;
    }

    std::size_t words = 0;             // of 64 bits a row
    AlignedArray<std::uint64_t> rows;  // [patches rounded up to kWordBits, words]
};

// A set of patches as bits, empty again when it goes; the words in use are those its ascending
// patches span.
class Membership {
  public:
    Membership(std::vector<std::uint64_t>& zeros, std::span<const std::uint16_t> patches)
        : bits_(zeros), first_(patches.front() / kWordBits), last_(patches.back() / kWordBits + 1) {
        for (const std::uint16_t p : patches) {
            bits_[p / kWordBits] |= std::uint64_t{1} << (p % kWordBits);
        }
    }
    ~Membership() {
        for (std::size_t w = first_; w < last_; ++w) bits_[w] = 0;
    }
    Membership(const Membership&) = delete;
    Membership& operator=(const Membership&) = delete;

    [[nodiscard]] const std::uint64_t* bits() const { return bits_.data(); }
    [[nodiscard]] std::size_t first_word() const { return first_; }
    [[nodiscard]] std::size_t last_word() const { return last_; }

    [[nodiscard]] std::int64_t count_in(const std::vector<std::uint64_t>& other) const {
        std::int64_t count = 0;
        for (std::size_t w = first_; w < last_; ++w) count += std::popcount(bits_[w] & other[w]);
        return count;
    }

  private:
    std::vector<std::uint64_t>& bits_;
    std::size_t first_, last_;
};

// Eq. 6: deg(i), the links of each patch of S inside S.
inline void degrees(const BitGraph& graph, const Kernels& simd,
                    std::span<const std::uint16_t> patches, const Membership& membership,
                    std::uint32_t* out) {
    simd.degrees(graph.rows.data(), graph.words, patches.data(), patches.size(), membership.bits(),
                 membership.first_word(), membership.last_word(), out);
}

}  // namespace claid

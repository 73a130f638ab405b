// The rows in int8, for a first look at most pairs: products at twice the speed, with a bound on
// what they miss. The proof is in docs/kernels.md, "Filter in int8, decide in int16".
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "claid/memory.hpp"
#include "claid/q15.hpp"
#include "claid/simd/kernels.hpp"

namespace claid {

// W q_i = scale_i a_i + e_i, with W q_i the row spread over blocks of kSpreadBlock dimensions and
// a_i in int8, so that for every pair
//     |kSpreadBlock q_i . q_j - scale_i scale_j a_i . a_j| <= length (remainder_i + remainder_j).
class Int8Rows {
  public:
    Int8Rows(const Q15Rows& q15, std::int32_t threshold, const FilterKernels& filter,
             std::size_t panel_columns, std::size_t threads);

    [[nodiscard]] const std::int8_t* row(std::size_t patch) const {
        return storage_.data() + patch * stride;
    }
    // The panel of the tiles that starts at this patch.
    [[nodiscard]] const std::int8_t* panel(std::size_t patch) const {
        return row(unit_.size() + patch);
    }
    // What decides the pairs of a row, and of a column.
    [[nodiscard]] const FilterRow* bounds(std::size_t patch) const { return &bounds_[patch]; }
    [[nodiscard]] FilterColumns columns(std::size_t patch) const {
        return {&unit_[patch], &reach_[patch]};
    }

    std::size_t stride;  // int8 a row, a multiple of kSpreadBlock

  private:
    void narrow(const Q15Rows& q15, const FilterKernels& filter, std::size_t panel_columns,
                std::size_t first);
    void bound(const Q15Rows& q15, std::int32_t threshold);

    AlignedArray<std::int8_t> storage_;  // [2, padded patches, stride]
    std::vector<Int8Row> rows_;
    std::vector<FilterRow> bounds_;
    std::vector<float> unit_, reach_;
};

}  // namespace claid

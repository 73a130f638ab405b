// Patch features as unit vectors in Q15, and the feature energy (sections III-A and III-D).
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "claid/memory.hpp"
#include "claid/simd/kernels.hpp"
#include "claid/types.hpp"

namespace claid {

// A unit vector's length in Q15.
inline constexpr double kQ15One = 32767.0;

// A feature is NaN or infinite.
struct NotFiniteError : std::invalid_argument {
    NotFiniteError(std::size_t row, std::size_t column);
    std::size_t row, column;
};

// q_ik = rint(X_ik 32767 / ||X_i||): all that follows is integers, exact in any order.
struct Q15Rows {
    std::size_t patches = 0;
    std::size_t dims = 0;
    std::size_t stride = 0;             // int16 a row, dims and zeros
    AlignedArray<std::int16_t> rows;    // [patches rounded up to kWordBits, stride]
    AlignedArray<std::int16_t> panels;  // the same rows, interleaved for the affinity tiles
    std::vector<std::int32_t> squares;  // f_i = q_i . q_i
    std::vector<float> energy;          // sum_k |X_ik|

    [[nodiscard]] const std::int16_t* row(std::size_t patch) const {
        return rows.data() + patch * stride;
    }
};

Q15Rows quantise(const Features& features, const Kernels& simd, std::size_t threads);

// H, the patches of the highest energy, as bits. All patches at the m-th largest energy are in.
std::vector<std::uint64_t> high_energy_patches(const std::vector<float>& energy, double energy_top);

}  // namespace claid

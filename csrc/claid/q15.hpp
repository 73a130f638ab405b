// Patch features as unit vectors in Q15, and the feature energy (sections III-A and III-D).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "claid/memory.hpp"
#include "claid/simd/kernels.hpp"
#include "claid/types.hpp"

namespace claid {

// A unit vector's length in Q15.
inline constexpr double kQ15One = 32767.0;

// q_ik = rint(X_ik 32767 / ||X_i||): all that follows is integers, exact in any order.
class Q15Rows {
  public:
    Q15Rows(std::size_t patches, std::size_t dims)
        : patches(patches),
          dims(dims),
          stride(round_up(dims, kRowMultiple)),
          squares(patches),
          energy(patches),
          storage_(round_up(patches, kWordBits) * stride) {}

    [[nodiscard]] std::int16_t* row(std::size_t patch) { return storage_.data() + patch * stride; }
    [[nodiscard]] const std::int16_t* row(std::size_t patch) const {
        return storage_.data() + patch * stride;
    }
    [[nodiscard]] std::size_t padded_patches() const { return round_up(patches, kWordBits); }

    std::size_t patches, dims;
    std::size_t stride;                 // int16 a row, dims and zeros
    std::vector<std::int32_t> squares;  // f_i = q_i . q_i
    std::vector<float> energy;          // sum_k |X_ik|

  private:
    AlignedArray<std::int16_t> storage_;  // [padded patches, stride]
};

// Throws NotFiniteError, as of image 0.
Q15Rows quantise(const Features& features, const Kernels& simd, std::size_t threads);

// H, the patches of the highest energy, as bits. All patches at the m-th largest energy are in.
std::vector<std::uint64_t> high_energy_patches(const std::vector<float>& energy, double energy_top);

}  // namespace claid

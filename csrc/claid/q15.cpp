#include "claid/q15.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "claid/float_environment.hpp"
#include "claid/parallel.hpp"

namespace claid {
namespace {

[[noreturn]] void throw_not_finite(const Features& features, std::size_t row) {
    const float* x = features.values + row * features.dims;
    std::size_t column = 0;
    while (std::isfinite(x[column])) ++column;
    throw NotFiniteError(0, row, column, x[column]);
}

void quantise_row(const Features& features, const Kernels& simd, std::size_t row, Q15Rows& out) {
    const float* x = features.values + row * features.dims;
    std::int16_t* q = out.row(row);
    const RowNorms norms = simd.row_norms(x, features.dims);
    if (!std::isfinite(norms.squared_norm)) throw_not_finite(features, row);
    if (norms.squared_norm == 0.0) {
        std::memset(q, 0, out.stride * sizeof *q);
    } else {
        simd.quantise(x, features.dims, kQ15One / std::sqrt(norms.squared_norm), q, out.stride);
    }
    out.squares[row] = simd.dot(q, q, out.stride);
    out.energy[row] = static_cast<float>(norms.energy);
}

}  // namespace

Q15Rows quantise(const Features& features, const Kernels& simd, std::size_t threads) {
    Q15Rows out(features.grid.patches(), features.dims);
    parallel_for(out.padded_patches() / kWordBits, threads, [&](std::size_t block) {
        const DefaultFloatEnvironment environment;
        const std::size_t first = block * kWordBits;
        const std::size_t last = std::min(first + kWordBits, out.patches);
        for (std::size_t row = first; row < last; ++row) quantise_row(features, simd, row, out);
        std::memset(out.row(last), 0,
                    (first + kWordBits - last) * out.stride * sizeof(std::int16_t));
    });
    return out;
}

std::vector<std::uint64_t> high_energy_patches(const std::vector<float>& energy,
                                               double energy_top) {
    const std::size_t patches = energy.size();
    const double share = std::floor(energy_top * static_cast<double>(patches) + 0.5);
    const std::size_t count = std::max<std::size_t>(1, static_cast<std::size_t>(share));
    std::vector<float> sorted = energy;
    const auto least = sorted.begin() + static_cast<std::ptrdiff_t>(count - 1);
    std::nth_element(sorted.begin(), least, sorted.end(), std::greater<>());
    std::vector<std::uint64_t> high(round_up(patches, kWordBits) / kWordBits, 0);
    for (std::size_t i = 0; i < patches; ++i) {
        if (energy[i] >= *least) high[i / kWordBits] |= std::uint64_t{1} << (i % kWordBits);
    }
    return high;
}

}  // namespace claid

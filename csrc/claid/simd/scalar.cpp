// Plain C++, for any processor.
#include <algorithm>

#include "claid/simd/kernels_impl.hpp"

namespace claid {
namespace {

struct Scalar {
    static constexpr int kColumns = 4, kRows = 4, kVecs = 2, kDoubles = 2;
    struct Vec {
        std::int16_t value[2 * kColumns];
    };
    struct Acc {
        std::int32_t value[kColumns];
    };

    static Vec load(const std::int16_t* p) {
        Vec v;
        std::memcpy(&v, p, sizeof v);
        return v;
    }
    static Vec broadcast_pair(const std::int16_t* p) {
        Vec v;
        for (int c = 0; c < kColumns; ++c) std::memcpy(v.value + 2 * c, p, 2 * sizeof *p);
        return v;
    }
    static Acc zero() { return {}; }
    static Acc multiply_add(Acc acc, const Vec& a, const Vec& b) {
        for (int c = 0; c < kColumns; ++c) {
            acc.value[c] +=
                a.value[2 * c] * b.value[2 * c] + a.value[2 * c + 1] * b.value[2 * c + 1];
        }
        return acc;
    }
    static std::uint32_t greater(const Acc& acc, std::int32_t threshold) {
        std::uint32_t bits = 0;
        for (int c = 0; c < kColumns; ++c) {
            bits |= static_cast<std::uint32_t>(acc.value[c] > threshold) << c;
        }
        return bits;
    }
    static void raise(std::int32_t* numbers, const Acc& acc, std::int32_t label) {
        for (int c = 0; c < kColumns; ++c) {
            numbers[c] = std::max(numbers[c], (acc.value[c] & ~kMatchMask) | label);
        }
    }
    static std::int32_t sum(const Acc& acc) {
        std::int32_t total = 0;
        for (const std::int32_t value : acc.value) total += value;
        return total;
    }
    static void sums(const Acc (&acc)[kVisitBatch], std::int32_t* out) {
        for (std::size_t j = 0; j < kVisitBatch; ++j) out[j] = sum(acc[j]);
    }
};

constexpr Kernels kKernels = kernels_of<Scalar>("scalar");

}  // namespace

const Kernels* scalar_kernels() { return &kKernels; }

}  // namespace claid

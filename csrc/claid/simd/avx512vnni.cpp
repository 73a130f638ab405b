// AVX-512 with VNNI: 32 multiply-adds and their sums in one instruction (vpdpwssd).
#include "claid/simd/avx512_isa.hpp"

namespace claid {
namespace {

struct DotAccumulate {
    static __m512i apply(__m512i acc, __m512i a, __m512i b) {
        return _mm512_dpwssd_epi32(acc, a, b);
    }
};

constexpr Kernels kKernels = kernels_of<Avx512<DotAccumulate>>("avx512vnni");

}  // namespace

const Kernels* avx512vnni_kernels() { return &kKernels; }

}  // namespace claid

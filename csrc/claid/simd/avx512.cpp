// AVX-512 (F, BW, DQ, VL): 32 multiply-adds an instruction, sums added separately.
#include "claid/simd/avx512_isa.hpp"

namespace claid {
namespace {

struct MaddAdd {
    static __m512i apply(__m512i acc, __m512i a, __m512i b) {
        return _mm512_add_epi32(acc, _mm512_madd_epi16(a, b));
    }
};

constexpr Kernels kKernels = kernels_of<Avx512<MaddAdd>>("avx512");

}  // namespace

const Kernels* avx512_kernels() { return &kKernels; }

}  // namespace claid

// AVX-512 (F, BW, DQ, VL): 32 multiply-adds an instruction, sums added separately.
#include "claid/simd/avx512_isa.hpp"

namespace claid {
namespace {

struct MaddAdd {
    static __m512i apply(__m512i acc, __m512i a, __m512i b) {
        // In place by force, as in avx2.cpp.
        const __m512i products = _mm512_madd_epi16(a, b);
        asm("vpaddd %1, %0, %0" : "+v"(acc) : "v"(products));
        return acc;
    }
};

constexpr Kernels kKernels = kernels_of<Avx512<MaddAdd>>("avx512");

}  // namespace

const Kernels* avx512_kernels() { return &kKernels; }

}  // namespace claid

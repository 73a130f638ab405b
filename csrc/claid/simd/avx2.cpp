// AVX2: 16 multiply-adds an instruction (vpmaddwd), sums added separately.
#include "claid/simd/avx2_isa.hpp"

namespace claid {
namespace {

struct MaddAdd {
    static __m256i apply(__m256i acc, __m256i a, __m256i b) {
        // In place by force: GCC gives the sum a register of its own and copies it back.
        const __m256i products = _mm256_madd_epi16(a, b);
        asm("vpaddd %1, %0, %0" : "+x"(acc) : "x"(products));
        return acc;
    }
};

constexpr Kernels kKernels = kernels_of<Avx2<MaddAdd>>("avx2");

}  // namespace

const Kernels* avx2_kernels() { return &kKernels; }

}  // namespace claid

// AVX-512 with VNNI: 32 multiply-adds and their sums in one instruction (vpdpwssd).
#include "claid/simd/avx512_isa.hpp"

namespace claid {
namespace {

struct DotAccumulate {
    static __m512i apply(__m512i acc, __m512i a, __m512i b) {
        // In place by force, as in avx2.cpp.
        asm("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
        return acc;
    }
};

constexpr Kernels kKernels = kernels_of<Avx512<DotAccumulate>>("avx512vnni");

}  // namespace

const Kernels* avx512vnni_kernels() { return &kKernels; }

}  // namespace claid

// AVX-512 (F): 16 multiply-adds an instruction.
#include <immintrin.h>

#include "claid/simd/box_kernels_impl.hpp"

namespace claid {
namespace {

struct Avx512 {
    using Vec = __m512;
    static constexpr std::size_t kWidth = 16;

    static Vec load(const float* p) { return _mm512_loadu_ps(p); }
    static void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
    static Vec broadcast(float x) { return _mm512_set1_ps(x); }
    static Vec zero() { return _mm512_setzero_ps(); }
    static Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
    static Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
    static Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
    static Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
    static Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
    static Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
    static Vec sqrt(Vec a) { return _mm512_sqrt_ps(a); }
    static Vec multiply_add(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
    static float sum(Vec v) { return _mm512_reduce_add_ps(v); }
    static float highest(Vec v) { return _mm512_reduce_max_ps(v); }
};

constexpr BoxKernels kKernels = box_kernels_of<Avx512>();

}  // namespace

const BoxKernels* avx512_box_kernels() { return &kKernels; }

}  // namespace claid

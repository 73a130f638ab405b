// AVX-512 vectors, with or without the fused multiply-add of VNNI.
#pragma once

#include <immintrin.h>

#include "claid/simd/kernels_impl.hpp"

namespace claid {
namespace {

template <class MultiplyAdd>
struct Avx512 {
    using Vec = __m512i;
    using Acc = __m512i;
    static constexpr int kColumns = 16, kRows = 8, kVecs = 2, kDoubles = 8;

    static Vec load(const std::int16_t* p) { return _mm512_loadu_si512(p); }
    static Vec broadcast_pair(const std::int16_t* p) {
        std::int32_t pair;
        std::memcpy(&pair, p, sizeof pair);
        return _mm512_set1_epi32(pair);
    }
    static __m512d widen(const float* x) { return _mm512_cvtps_pd(_mm256_loadu_ps(x)); }
    static Acc zero() { return _mm512_setzero_si512(); }
    static Acc multiply_add(Acc acc, Vec a, Vec b) { return MultiplyAdd::apply(acc, a, b); }
    static std::uint32_t greater(Acc acc, std::int32_t threshold) {
        return _mm512_cmpgt_epi32_mask(acc, _mm512_set1_epi32(threshold));
    }
    static void raise(std::int32_t* numbers, Acc acc, std::int32_t label) {
        const __m512i labelled = _mm512_or_si512(
            _mm512_and_si512(acc, _mm512_set1_epi32(~kMatchMask)), _mm512_set1_epi32(label));
        _mm512_storeu_si512(numbers, _mm512_max_epi32(_mm512_loadu_si512(numbers), labelled));
    }
    static std::int32_t sum(Acc acc) { return _mm512_reduce_add_epi32(acc); }
    static void sums(const Acc (&acc)[kVisitBatch], std::int32_t* out) {
        const __m512i by2[2] = {pairs(acc[0], acc[1]), pairs(acc[2], acc[3])};
        const __m512i by4 = _mm512_add_epi32(_mm512_unpacklo_epi64(by2[0], by2[1]),
                                             _mm512_unpackhi_epi64(by2[0], by2[1]));
        const __m256i by8 =
            _mm256_add_epi32(_mm512_castsi512_si256(by4), _mm512_extracti64x4_epi64(by4, 1));
        const __m128i by16 =
            _mm_add_epi32(_mm256_castsi256_si128(by8), _mm256_extracti128_si256(by8, 1));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out), by16);
    }

  private:
    // Sums of two in turn: a, b, a, b, ...
    static __m512i pairs(__m512i a, __m512i b) {
        return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    }
};

}  // namespace
}  // namespace claid

// 256-bit vectors, with or without the fused multiply-add of AVX-VNNI.
#pragma once

#include <immintrin.h>

#include "claid/simd/kernels_impl.hpp"

namespace claid {
namespace {

template <class MultiplyAdd>
struct Avx2 {
    using Vec = __m256i;
    using Acc = __m256i;
    static constexpr int kColumns = 8, kRows = 4, kVecs = 2, kDoubles = 4;

    static Vec load(const std::int16_t* p) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    }
    static Vec broadcast_pair(const std::int16_t* p) {
        std::int32_t pair;
        std::memcpy(&pair, p, sizeof pair);
        return _mm256_set1_epi32(pair);
    }
    static Acc zero() { return _mm256_setzero_si256(); }
    static Acc multiply_add(Acc acc, Vec a, Vec b) { return MultiplyAdd::apply(acc, a, b); }
    static std::uint32_t greater(Acc acc, std::int32_t threshold) {
        const __m256i above = _mm256_cmpgt_epi32(acc, _mm256_set1_epi32(threshold));
        return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(above)));
    }
    static void raise(std::int32_t* numbers, Acc acc, std::int32_t label) {
        auto* to = reinterpret_cast<__m256i*>(numbers);
        const __m256i labelled = _mm256_or_si256(
            _mm256_and_si256(acc, _mm256_set1_epi32(~kMatchMask)), _mm256_set1_epi32(label));
        _mm256_storeu_si256(to, _mm256_max_epi32(_mm256_loadu_si256(to), labelled));
    }
    static std::int32_t sum(Acc acc) {
        const __m128i by4 =
            _mm_add_epi32(_mm256_castsi256_si128(acc), _mm256_extracti128_si256(acc, 1));
        const __m128i by2 = _mm_add_epi32(by4, _mm_shuffle_epi32(by4, 0x4E));
        return _mm_cvtsi128_si32(_mm_add_epi32(by2, _mm_shuffle_epi32(by2, 0xB1)));
    }
    static void sums(const Acc (&acc)[kVisitBatch], std::int32_t* out) {
        const __m256i by4 =
            _mm256_hadd_epi32(_mm256_hadd_epi32(acc[0], acc[1]), _mm256_hadd_epi32(acc[2], acc[3]));
        const __m128i by8 =
            _mm_add_epi32(_mm256_castsi256_si128(by4), _mm256_extracti128_si256(by4, 1));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out), by8);
    }
};

}  // namespace
}  // namespace claid

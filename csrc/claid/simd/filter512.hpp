// The int8 filter in 512-bit vectors, but for its products.
#pragma once

#include "claid/simd/avx512_isa.hpp"
#include "claid/simd/filter_impl.hpp"

namespace claid {
namespace {

struct Filter512 {
    using Acc = __m512i;
    static constexpr int kColumns = 16, kRows = 8, kVecs = 2;

    static __m512i broadcast_four(const std::int8_t* p) {
        std::int32_t four;
        std::memcpy(&four, p, sizeof four);
        return _mm512_set1_epi32(four);
    }
    static Acc start(std::int32_t from) { return _mm512_set1_epi32(from); }
    static __m512i widen(const std::int16_t* a, const std::int16_t* b) {
        return _mm512_cvtepi16_epi32(
            _mm256_mullo_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(a)),
                               _mm256_load_si256(reinterpret_cast<const __m256i*>(b))));
    }
    static __m512 fused(__m512 a, __m512 b, __m512 c) { return _mm512_fmadd_ps(a, b, c); }
    static void narrow(std::int8_t* to, __m512 bits) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                         _mm512_cvtepi32_epi8(_mm512_castps_si512(bits)));
    }
    static FilterBits decide(Acc acc, const FilterRow& row, const float* unit, const float* reach) {
        const __m512 product = _mm512_cvtepi32_ps(acc), units = _mm512_loadu_ps(unit);
        const __m512 width = _mm512_mul_ps(_mm512_set1_ps(row.unit), _mm512_loadu_ps(reach));
        const __m512 high = _mm512_fmadd_ps(_mm512_set1_ps(row.above), units, width);
        const __m512 low = _mm512_fmsub_ps(_mm512_set1_ps(row.below), units, width);
        return {_mm512_cmp_ps_mask(product, high, _CMP_GT_OQ),
                _mm512_cmp_ps_mask(product, low, _CMP_GT_OQ)};
    }
};

}  // namespace
}  // namespace claid

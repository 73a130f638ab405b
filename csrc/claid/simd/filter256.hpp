// The int8 filter in 256-bit vectors, but for its products.
#pragma once

#include "claid/simd/avx2_isa.hpp"
#include "claid/simd/filter_impl.hpp"

namespace claid {
namespace {

struct Filter256 {
    using Acc = __m256i;
    static constexpr int kColumns = 8, kRows = 4, kVecs = 2;

    static __m256i load_bytes(const std::int8_t* p) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    }
    static __m256i broadcast_four(const std::int8_t* p) {
        std::int32_t four;
        std::memcpy(&four, p, sizeof four);
        return _mm256_set1_epi32(four);
    }
    static Acc start(std::int32_t from) { return _mm256_set1_epi32(from); }
    static __m256i widen(const std::int16_t* a, const std::int16_t* b) {
        return _mm256_cvtepi16_epi32(
            _mm_mullo_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a)),
                            _mm_load_si128(reinterpret_cast<const __m128i*>(b))));
    }
    static void narrow(std::int8_t* to, __m256 bits) {
        const __m256i low_bytes =
            _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,  //
                             0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
        const __m256i bytes = _mm256_shuffle_epi8(_mm256_castps_si256(bits), low_bytes);
        const __m128i all =
            _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
        _mm_storel_epi64(reinterpret_cast<__m128i*>(to), all);
    }
    static FilterBits decide(Acc acc, const FilterRow& row, const float* unit, const float* reach) {
        const __m256 product = _mm256_cvtepi32_ps(acc), units = _mm256_loadu_ps(unit);
        const __m256 width = _mm256_mul_ps(_mm256_set1_ps(row.unit), _mm256_loadu_ps(reach));
        const __m256 high = _mm256_add_ps(_mm256_mul_ps(_mm256_set1_ps(row.above), units), width);
        const __m256 low = _mm256_sub_ps(_mm256_mul_ps(_mm256_set1_ps(row.below), units), width);
        return {bits(_mm256_cmp_ps(product, high, _CMP_GT_OQ)),
                bits(_mm256_cmp_ps(product, low, _CMP_GT_OQ))};
    }

  private:
    static std::uint32_t bits(__m256 mask) {
        return static_cast<std::uint32_t>(_mm256_movemask_ps(mask));
    }
};

}  // namespace
}  // namespace claid

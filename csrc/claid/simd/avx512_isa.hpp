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
};

}  // namespace
}  // namespace claid

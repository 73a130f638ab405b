// AVX-VNNI: 16 multiply-adds of int16 and their sums in one instruction (vpdpwssd), 32 of int8
// (vpdpbusd), on processors without AVX-512.
#include "claid/simd/avx2_isa.hpp"
#include "claid/simd/filter_impl.hpp"

// The tests also build this file for AVX-512, which encodes the same two instructions otherwise.
#if defined(__AVXVNNI__)
#define CLAID_ENCODING "%{vex%} "
#else
#define CLAID_ENCODING ""
#endif

namespace claid {
namespace {

struct DotAccumulate {
    static __m256i apply(__m256i acc, __m256i a, __m256i b) {
        // In place by force, as in avx2.cpp.
        asm(CLAID_ENCODING "vpdpwssd %2, %1, %0" : "+x"(acc) : "x"(a), "x"(b));
        return acc;
    }
};

struct Filter {
    using Vec = __m256i;
    using Acc = __m256i;
    static constexpr int kColumns = 8, kRows = 4, kVecs = 2;
    static constexpr std::int32_t kFlip = kUnsignedFlip;

    static Vec load(const std::int8_t* p) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    }
    static Vec broadcast(const std::int8_t* p) {
        std::int32_t four;
        std::memcpy(&four, p, sizeof four);
        return _mm256_set1_epi32(four);
    }
    static Acc start(std::int32_t row_sum) { return _mm256_set1_epi32(-kUnsignedOffset * row_sum); }
    static Acc multiply_add(Acc acc, Vec row, Vec column) {
        asm(CLAID_ENCODING "vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(column), "x"(row));
        return acc;
    }
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

constexpr FilterKernels kFilter = filter_of<Filter>();
constexpr Kernels kKernels = kernels_of<Avx2<DotAccumulate>>("avxvnni", &kFilter);

}  // namespace

const Kernels* avxvnni_kernels() { return &kKernels; }

}  // namespace claid

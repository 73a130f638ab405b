// AVX-512 (F, BW, DQ, VL): 32 multiply-adds of int16 an instruction, 64 of int8, sums added
// separately.
#include "claid/simd/filter512.hpp"

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

// Seven bits, as in avx2.cpp.
struct Filter : Filter512 {
    struct Vec {
        __m512i step[2];
    };
    static constexpr int kMost = 63, kOffset = 64, kSteps = 2;
    static constexpr double kSpeed = 1.5;

    static Vec load(const std::int8_t* p, std::size_t step) {
        return {_mm512_loadu_si512(p), _mm512_loadu_si512(p + step)};
    }
    static Vec broadcast(const std::int8_t* p) {
        return {broadcast_four(p), broadcast_four(p + 4)};
    }
    static Acc multiply_add(Acc acc, const Vec& row, const Vec& column) {
        const __m512i pairs = _mm512_add_epi16(_mm512_maddubs_epi16(column.step[0], row.step[0]),
                                               _mm512_maddubs_epi16(column.step[1], row.step[1]));
        return MaddAdd::apply(acc, pairs, _mm512_set1_epi16(1));
    }
};

constexpr FilterKernels kFilter = filter_of<Filter>();
constexpr Kernels kKernels = kernels_of<Avx512<MaddAdd>>("avx512", &kFilter);

}  // namespace

const Kernels* avx512_kernels() { return &kKernels; }

}  // namespace claid

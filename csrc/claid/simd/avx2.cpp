// AVX2: 16 multiply-adds of int16 an instruction (vpmaddwd), 32 of int8 (vpmaddubsw), sums added
// separately.
#include "claid/simd/filter256.hpp"

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

// Seven bits, so that two sums of two products of a step fit int16: 2 * 2 * 127 * 63 < 2^15.
struct Filter : Filter256 {
    struct Vec {
        __m256i step[2];
    };
    static constexpr int kMost = 63, kOffset = 64, kSteps = 2;
    static constexpr double kSpeed = 1.5;

    static Vec load(const std::int8_t* p, std::size_t step) {
        return {load_bytes(p), load_bytes(p + step)};
    }
    static Vec broadcast(const std::int8_t* p) {
        return {broadcast_four(p), broadcast_four(p + 4)};
    }
    static Acc multiply_add(Acc acc, const Vec& row, const Vec& column) {
        const __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16(column.step[0], row.step[0]),
                                               _mm256_maddubs_epi16(column.step[1], row.step[1]));
        return MaddAdd::apply(acc, pairs, _mm256_set1_epi16(1));
    }
};

constexpr FilterKernels kFilter = filter_of<Filter>();
constexpr Kernels kKernels = kernels_of<Avx2<MaddAdd>>("avx2", &kFilter);

}  // namespace

const Kernels* avx2_kernels() { return &kKernels; }

}  // namespace claid

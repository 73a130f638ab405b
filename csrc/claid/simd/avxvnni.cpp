// AVX-VNNI: 16 multiply-adds of int16 and their sums in one instruction (vpdpwssd), 32 of int8
// (vpdpbusd), on processors without AVX-512.
#include "claid/simd/filter256.hpp"

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

struct Filter : Filter256 {
    using Vec = __m256i;
    static constexpr int kMost = 127, kOffset = 128, kSteps = 1;
    static constexpr double kSpeed = 2.0;

    static Vec load(const std::int8_t* p, std::size_t) { return load_bytes(p); }
    static Vec broadcast(const std::int8_t* p) { return broadcast_four(p); }
    static Acc multiply_add(Acc acc, Vec row, Vec column) {
        asm(CLAID_ENCODING "vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(column), "x"(row));
        return acc;
    }
};

constexpr FilterKernels kFilter = filter_of<Filter>();
constexpr Kernels kKernels = kernels_of<Avx2<DotAccumulate>>("avxvnni", &kFilter);

}  // namespace

const Kernels* avxvnni_kernels() { return &kKernels; }

}  // namespace claid

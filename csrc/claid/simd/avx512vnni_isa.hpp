// AVX-512's multiply-adds with VNNI, and the int8 filter by them.
#pragma once

#include "claid/simd/filter512.hpp"

namespace claid {
namespace {

struct DotAccumulate {
    static __m512i apply(__m512i acc, __m512i a, __m512i b) {
        // In place by force, as in avx2.cpp.
        asm("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
        return acc;
    }
};

struct Vnni512Filter : Filter512 {
    using Vec = __m512i;
    static constexpr int kMost = 127, kOffset = 128, kSteps = 1;
    static constexpr double kSpeed = 2.0;

    static Vec load(const std::int8_t* p, std::size_t) { return _mm512_loadu_si512(p); }
    static Vec broadcast(const std::int8_t* p) { return broadcast_four(p); }
    static Acc multiply_add(Acc acc, Vec row, Vec column) {
        asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(column), "v"(row));
        return acc;
    }
};

}  // namespace
}  // namespace claid

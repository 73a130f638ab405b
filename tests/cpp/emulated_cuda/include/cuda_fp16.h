// Stands in for CUDA's header.
#pragma once

#include <cmath>
#include <cstdint>

struct __half {
    std::uint16_t bits;
};

inline float __half2float(__half x) {
    constexpr int kFractionBits = 10, kBias = 15;
    const int exponent = x.bits >> kFractionBits & 31, fraction = x.bits & 1023;
    const float sign = (x.bits >> 15) != 0 ? -1.0F : 1.0F;
    if (exponent == 31) return sign * (fraction == 0 ? INFINITY : NAN);
    if (exponent == 0)
        return sign * std::ldexp(static_cast<float>(fraction), 1 - kBias - kFractionBits);
    return sign * std::ldexp(static_cast<float>(fraction + 1024), exponent - kBias - kFractionBits);
}

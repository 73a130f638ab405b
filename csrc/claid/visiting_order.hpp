// The order in which a k-sums sweep visits the patches of a node: no memory, and the same on
// every device, for it depends on the node alone.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace claid {

// The output function of splitmix64.
constexpr std::uint64_t mix(std::uint64_t x) {
    x += 0x9E3779B97F4A7C15;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
    x = (x ^ x >> 27) * 0x94D049BB133111EB;
    return x ^ x >> 31;
}

constexpr std::uint64_t key_of(std::uint64_t seed, std::initializer_list<std::uint64_t> values) {
    std::uint64_t key = mix(seed);
    for (const std::uint64_t value : values) key = mix(key ^ value);
    return key;
}

// Not std::gcd: libstdc++'s counts zeros by a builtin that nvcc compiles, without a word, to
// nothing in device code.
constexpr std::uint32_t greatest_common_divisor(std::uint32_t a, std::uint32_t b) {
    while (b != 0) {
        const std::uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

// Position t of a sweep visits the patch at (a t + b) mod k of the ascending node.
struct VisitingOrder {
    std::uint32_t a, b;

    static constexpr VisitingOrder of(std::uint64_t seed, std::uint64_t first_patch,
                                      std::uint32_t k, std::uint64_t sweep) {
        const std::uint64_t key = key_of(seed, {first_patch, k, sweep});
        std::uint32_t a = 1 + static_cast<std::uint32_t>(key) % k;
        while (greatest_common_divisor(a, k) != 1) a = a % k + 1;
        return {a, static_cast<std::uint32_t>(key >> 32) % k};
    }
};

}  // namespace claid

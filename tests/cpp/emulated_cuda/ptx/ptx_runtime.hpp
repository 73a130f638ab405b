// What the C++ that translate.py makes of PTX is written in.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cuda/ptx.cuh"
#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "ptx_kernels.hpp"

extern std::byte start_of_shared[] __asm__("__start_emulated_shared");

namespace emulated::ptx {

// An address in shared memory is a number of bytes from its start; the part whose size the launch
// says begins far behind the variables.
inline constexpr std::uint32_t kDynamicShared = 0x80000000;

inline std::uint32_t shared_address(const std::byte* variable) {
    return static_cast<std::uint32_t>(variable - start_of_shared);
}
inline std::byte* shared_at(std::uint64_t address) {
    const auto at = static_cast<std::uint32_t>(address);
    return at < kDynamicShared ? start_of_shared + at : dynamic_shared() + (at - kDynamicShared);
}
inline std::byte* device_at(std::uint64_t address) { return reinterpret_cast<std::byte*>(address); }
inline const std::byte* parameter(const void* const* parameters, int number, int offset) {
    return static_cast<const std::byte*>(parameters[number]) + offset;
}

template <class T, std::size_t kCount>
void copy_parameter(T (&to)[kCount], const std::byte* from) {
    std::memcpy(to, from, sizeof to);
}
template <class T, std::size_t kCount>
void load(T (&to)[kCount], const std::byte* from) {
    if (reinterpret_cast<std::uintptr_t>(from) % sizeof to != 0) fail("a load out of line");
    touch(from, sizeof to, Access::read);
    std::memcpy(to, from, sizeof to);
}
template <class T, std::size_t kCount>
void store(std::byte* to, const T (&from)[kCount]) {
    if (reinterpret_cast<std::uintptr_t>(to) % sizeof from != 0) fail("a store out of line");
    touch(to, sizeof from, Access::write);
    std::memcpy(to, from, sizeof from);
}

template <class T>
std::uint64_t bits_of(T value) {
    if constexpr (std::is_same_v<T, float>) return std::bit_cast<std::uint32_t>(value);
    if constexpr (std::is_same_v<T, double>) return std::bit_cast<std::uint64_t>(value);
    if constexpr (std::is_integral_v<T>) return static_cast<std::uint64_t>(value);
}
template <class T>
void set_bits(T& target, std::uint64_t bits) {
    std::memcpy(&target, &bits, sizeof target);
}

// Shifts by as many bits as there are, or more, leave nothing, or the sign.
template <class T>
T shift_left(T value, std::uint32_t by) {
    return by < 8 * sizeof(T) ? static_cast<T>(value << by) : T{0};
}
template <class T>
T shift_right(T value, std::uint32_t by) {
    constexpr std::uint32_t kLast = 8 * sizeof(T) - 1;
    if (by <= kLast) return static_cast<T>(value >> by);
    return std::is_signed_v<T> ? static_cast<T>(value >> kLast) : T{0};
}
inline std::uint32_t funnel_shift_left(std::uint32_t low, std::uint32_t high, std::uint32_t by) {
    return static_cast<std::uint32_t>((std::uint64_t{high} << 32 | low) << by % 32 >> 32);
}
inline std::uint32_t reversed(std::uint32_t word) {
    std::uint32_t result = 0;
    for (int bit = 0; bit < 32; ++bit) result |= (word >> bit & 1) << (31 - bit);
    return result;
}
inline std::uint32_t insert_bits(std::uint32_t from, std::uint32_t into, std::uint32_t at,
                                 std::uint32_t count) {
    const std::uint64_t ones = (std::uint64_t{1} << std::min(count, 32U)) - 1;
    const std::uint64_t mask = shift_left(ones, at);
    return static_cast<std::uint32_t>((into & ~mask) |
                                      (shift_left(std::uint64_t{from}, at) & mask));
}
inline float half_to_float(std::uint16_t bits) { return __half2float({bits}); }
inline float bfloat16_to_float(std::uint16_t bits) { return __bfloat162float({bits}); }

}  // namespace emulated::ptx

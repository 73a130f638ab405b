// Stands in for csrc/cuda/ptx.cuh. The tensor cores' operands are laid out as the PTX manual says
// (Matrix Fragments for mma.m8n8k16, and for mma.m16n8k32), and not as affinity.cuh does.
#pragma once

#include <cstdint>
#include <cstring>

#include "cuda_runtime.h"

namespace claid::cuda {

template <class T>
T* dynamic_shared() {
    return reinterpret_cast<T*>(emulated::dynamic_shared());
}

EMULATED_UNSEEN inline void store_release(std::uint32_t& flag, std::uint32_t value) {
    emulated::may_switch();
    emulated::touch(&flag, sizeof flag, emulated::Access::atomic);
    emulated::release_at(&flag);
    flag = value;
}
EMULATED_UNSEEN inline std::uint32_t load_acquire(const std::uint32_t& flag) {
    emulated::may_switch();
    emulated::touch(&flag, sizeof flag, emulated::Access::atomic);
    emulated::acquire_at(&flag);
    return flag;
}

inline std::uint64_t global_timer() { return emulated::ticks(); }

// The bytes come when the thread waits for them, the latest that they may.
void copy_async_16(void* to, const void* from);
void end_copy_group();
void wait_for_copy_groups(unsigned pending);
template <int kPending>
void wait_for_copy_groups() {
    wait_for_copy_groups(kPending);
}

enum class Bytes { s8, u8 };

struct MmaOperands {
    const std::uint32_t* a;
    const std::uint32_t* b;
    std::int32_t* sum;
};

// Byte i of a lane's registers.
template <Bytes kType>
std::int32_t byte_of(const std::uint32_t* registers, unsigned i) {
    const std::uint32_t byte = registers[i / 4] >> 8 * (i % 4) & 0xFF;
    return kType == Bytes::u8 ? static_cast<std::int32_t>(byte) : static_cast<std::int8_t>(byte);
}

// kRows is 8 with 16 columns of A, or 16 with 32.
template <Bytes kA, Bytes kB, unsigned kRows>
void complete_mma(void* const (&brought)[32], unsigned mask) {
    constexpr unsigned kDepth = 2 * kRows, kColumns = 8;
    if (mask != 0xFFFFFFFF) emulated::fail("an mma without the whole warp");
    std::int32_t a[kRows][kDepth], b[kColumns][kDepth];  // b transposed
    for (unsigned lane = 0; lane < 32; ++lane) {
        const auto& own = *static_cast<const MmaOperands*>(brought[lane]);
        const unsigned group = lane >> 2, in_group = lane % 4;
        for (unsigned i = 0; i < kRows * kDepth / 32; ++i) {
            const bool lower = kRows == 16 && !(i < 4 || (8 <= i && i < 12));
            const unsigned column = in_group * 4 + (i & 3) + (i >= 8 ? 16 : 0);
            a[lower ? group + 8 : group][column] = byte_of<kA>(own.a, i);
        }
        for (unsigned i = 0; i < kColumns * kDepth / 32; ++i) {
            b[group][in_group * 4 + (i & 3) + (i >= 4 ? 16 : 0)] = byte_of<kB>(own.b, i);
        }
    }
    for (unsigned lane = 0; lane < 32; ++lane) {
        const auto& own = *static_cast<const MmaOperands*>(brought[lane]);
        for (unsigned i = 0; i < kRows * kColumns / 32; ++i) {
            const unsigned row = (lane >> 2) + (i >= 2 ? 8 : 0);
            const unsigned column = (lane % 4) * 2 + (i & 1);
            std::int32_t product = 0;  // at most 32 * 255 * 255
            for (unsigned k = 0; k < kDepth; ++k) product += a[row][k] * b[column][k];
            own.sum[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(own.sum[i]) +
                                                   static_cast<std::uint32_t>(product));
        }
    }
}

template <Bytes kA, Bytes kB>
void mma_16x8x32(std::int32_t (&sum)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    MmaOperands own{a, b, sum};
    emulated::collective(0xFFFFFFFF, complete_mma<kA, kB, 16>, &own);
}

template <Bytes kA, Bytes kB>
void mma_8x8x16(std::int32_t& sum0, std::int32_t& sum1, std::uint32_t a, std::uint32_t b) {
    std::int32_t sum[2] = {sum0, sum1};
    MmaOperands own{&a, &b, sum};
    emulated::collective(0xFFFFFFFF, complete_mma<kA, kB, 8>, &own);
    sum0 = sum[0];
    sum1 = sum[1];
}

}  // namespace claid::cuda

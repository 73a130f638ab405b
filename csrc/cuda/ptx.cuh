// Instructions that CUDA C++ has no function for, and the start of shared memory. A header of the
// same name stands in for this one where the tests run the kernels on the host.
#pragma once

#include <cstdint>

namespace claid::cuda {

// Memory whose size the launch says.
template <class T>
__device__ T* dynamic_shared() {
    extern __shared__ uint4 start_of_shared[];
    return reinterpret_cast<T*>(start_of_shared);
}

// What the threads that see the flag's value with acquire may read: all that was written before
// release.
__device__ inline void store_release(std::uint32_t& flag, std::uint32_t value) {
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(__cvta_generic_to_global(&flag)),
                 "r"(value)
                 : "memory");
}
__device__ inline std::uint32_t load_acquire(const std::uint32_t& flag) {
    std::uint32_t value;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
                 : "=r"(value)
                 : "l"(__cvta_generic_to_global(&flag))
                 : "memory");
    return value;
}

// Nanoseconds since some moment, the same for all multiprocessors; it may go by microseconds.
__device__ inline std::uint64_t global_timer() {
    std::uint64_t time;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(time));
    return time;
}

// Sixteen bytes from global to shared memory, past the registers. Compute capability 8.0.
__device__ inline void copy_async_16(void* to, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                     static_cast<unsigned>(__cvta_generic_to_shared(to))),
                 "l"(__cvta_generic_to_global(from))
                 : "memory");
}
// Makes the thread's copies so far, those of no group yet, a group.
__device__ inline void end_copy_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits for all groups of the thread but the newest kPending.
template <int kPending>
__device__ void wait_for_copy_groups() {
    asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Operands of the tensor cores: int8 or uint8.
enum class Bytes { s8, u8 };

// sum += A B, modulo 2^32, for 16 x 32 bytes by 32 x 8. Compute capability 8.0.
template <Bytes kA, Bytes kB>
__device__ void mma_16x8x32(std::int32_t (&sum)[4], const std::uint32_t (&a)[4],
                            const std::uint32_t (&b)[2]) {
#define CLAID_MMA(types)                                                                \
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32." types                         \
                 ".s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
                 : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3])               \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
    if constexpr (kA == Bytes::s8 && kB == Bytes::s8) CLAID_MMA("s8.s8");
    if constexpr (kA == Bytes::s8 && kB == Bytes::u8) CLAID_MMA("s8.u8");
    if constexpr (kA == Bytes::u8 && kB == Bytes::s8) CLAID_MMA("u8.s8");
    if constexpr (kA == Bytes::u8 && kB == Bytes::u8) CLAID_MMA("u8.u8");
#undef CLAID_MMA
}

// The same for 8 x 16 bytes by 16 x 8. Compute capability 7.5.
template <Bytes kA, Bytes kB>
__device__ void mma_8x8x16(std::int32_t& sum0, std::int32_t& sum1, std::uint32_t a,
                           std::uint32_t b) {
#define CLAID_MMA(types)                                       \
    asm volatile("mma.sync.aligned.m8n8k16.row.col.s32." types \
                 ".s32 {%0, %1}, {%2}, {%3}, {%0, %1};"        \
                 : "+r"(sum0), "+r"(sum1)                      \
                 : "r"(a), "r"(b))
    if constexpr (kA == Bytes::s8 && kB == Bytes::s8) CLAID_MMA("s8.s8");
    if constexpr (kA == Bytes::s8 && kB == Bytes::u8) CLAID_MMA("s8.u8");
    if constexpr (kA == Bytes::u8 && kB == Bytes::s8) CLAID_MMA("u8.s8");
    if constexpr (kA == Bytes::u8 && kB == Bytes::u8) CLAID_MMA("u8.u8");
#undef CLAID_MMA
}

}  // namespace claid::cuda

// The block of threads that runs a per-block algorithm, and what the algorithms ask of it.
//
// They are written as phases: for_each_thread(body) calls body(thread) in every thread, then waits
// for all. Code between phases is uniform: every thread runs it with the same values, and it writes
// nothing that others see. One rule keeps the phases free of races: what a phase writes, the
// uniform code just before it does not read.
//
// A team is kTeamLanes neighbouring threads that share one sum.
#pragma once

#include <cstdint>

#include "cuda/ptx.cuh"

namespace claid::cuda {

inline constexpr int kBlockThreads = 512;
inline constexpr int kTeamLanes = 8;

__device__ inline std::uint32_t popcount(std::uint32_t word) {
    return static_cast<std::uint32_t>(__popc(static_cast<int>(word)));
}

__device__ inline std::uint32_t lowest_bit(std::uint32_t word) {
    return static_cast<std::uint32_t>(__ffs(static_cast<int>(word))) - 1;
}

// Sixteen bytes, loaded at once.
struct alignas(16) Words {
    std::uint32_t word[4];
};
struct alignas(16) Shorts {
    std::int16_t value[8];
};
struct alignas(16) Ints {
    std::int32_t value[4];
};

class Block {
  public:
    __device__ static int threads() { return kBlockThreads; }
    __device__ static int teams() { return kBlockThreads / kTeamLanes; }

    template <class Body>
    __device__ void for_each_thread(const Body& body) const {
        body(static_cast<int>(threadIdx.x));
        __syncthreads();
    }

    // All lanes of a team run body(team) together.
    template <class Body>
    __device__ void for_each_team(const Body& body) const {
        body(static_cast<int>(threadIdx.x) / kTeamLanes);
        __syncthreads();
    }

    // Inside for_each_team: the sum of term(i) for i < count, in every lane.
    template <class Sum, class Term>
    __device__ Sum team_sum(std::uint32_t count, const Term& term) const {
        const std::uint32_t lane = threadIdx.x % kTeamLanes;
        // Teams of a warp may be at different places: each names its own lanes only.
        const unsigned mask = ((1U << kTeamLanes) - 1) << (threadIdx.x % 32 - lane);
        Sum sum = 0;
#pragma unroll 4
        for (std::uint32_t i = lane; i < count; i += kTeamLanes) sum += term(i);
        for (int step = kTeamLanes / 2; step > 0; step /= 2) {
            sum += __shfl_xor_sync(mask, sum, step, kTeamLanes);
        }
        return sum;
    }

    // Inside for_each_team: one lane runs body.
    template <class Body>
    __device__ void once(const Body& body) const {
        if (threadIdx.x % kTeamLanes == 0) body();
    }

    // At the end of a for_each_thread body, by every thread: target becomes the least of all
    // values.
    __device__ void minimum(std::uint32_t& target, std::uint32_t value) const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
        value = __reduce_min_sync(kWarp, value);
#else
        for (int step = 16; step > 0; step /= 2)
            value = min(value, __shfl_xor_sync(kWarp, value, step));
#endif
        if (threadIdx.x % 32 == 0 && value != kLargest) atomicMin(&target, value);
    }

    __device__ static std::uint32_t add(std::uint32_t& target, std::uint32_t value) {
        return atomicAdd(&target, value);
    }
    __device__ static std::int32_t add(std::int32_t& target, std::int32_t value) {
        return atomicAdd(&target, value);
    }
    __device__ static std::uint64_t add(std::uint64_t& target, std::uint64_t value) {
        return atomicAdd(reinterpret_cast<unsigned long long*>(&target), value);
    }
    __device__ static std::uint32_t least(std::uint32_t& target, std::uint32_t value) {
        return atomicMin(&target, value);
    }
    __device__ static void least(std::uint64_t& target, std::uint64_t value) {
        atomicMin(reinterpret_cast<unsigned long long*>(&target), value);
    }
    __device__ static void most(std::uint32_t& target, std::uint32_t value) {
        atomicMax(&target, value);
    }
    __device__ static void set_bits(std::uint32_t& target, std::uint32_t bits) {
        atomicOr(&target, bits);
    }
    // Reads what other threads change in the same phase.
    __device__ static std::uint32_t load(std::uint32_t& target) { return atomicOr(&target, 0U); }

    // Across blocks: what was written before release is seen after an acquire that reads its value.
    __device__ static void release(std::uint32_t& flag, std::uint32_t value) {
        store_release(flag, value);
    }
    __device__ static std::uint32_t acquire(std::uint32_t& flag) { return load_acquire(flag); }
    __device__ static std::uint64_t nanoseconds() { return global_timer(); }
    __device__ static void pause() { __nanosleep(kPauseNanoseconds); }

  private:
    static constexpr unsigned kWarp = 0xFFFFFFFF;
    static constexpr std::uint32_t kLargest = 0xFFFFFFFF;
    static constexpr unsigned kPauseNanoseconds = 200;
};

}  // namespace claid::cuda

// What the per-block algorithms ask of the block of threads that runs them.
//
// They are templates over a Block, written as phases: for_each_thread(body) calls body(thread) for
// every thread, then waits for all. Code between phases is uniform: every thread runs it with the
// same values, and it writes nothing that others see. A host loop over the threads can therefore
// stand in for a block (tests/cpp/host_block.hpp), in any order of threads, and must find the same
// regions. One rule keeps the phases free of races: what a phase writes, the uniform code just
// before it does not read.
//
// A team is kTeamLanes neighbouring threads that share one sum.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define CLAID_DEVICE __device__
#define CLAID_PRAGMA(text) _Pragma(#text)
#define CLAID_UNROLL(times) CLAID_PRAGMA(unroll times)
#else
#define CLAID_DEVICE
#define CLAID_UNROLL(times)
#include <bit>
#endif

namespace claid::cuda {

inline constexpr int kBlockThreads = 512;
inline constexpr int kTeamLanes = 8;

CLAID_DEVICE inline std::uint32_t popcount(std::uint32_t word) {
#if defined(__CUDACC__)
    return static_cast<std::uint32_t>(__popc(static_cast<int>(word)));
#else
    return static_cast<std::uint32_t>(std::popcount(word));
#endif
}

CLAID_DEVICE inline std::uint32_t lowest_bit(std::uint32_t word) {
#if defined(__CUDACC__)
    return static_cast<std::uint32_t>(__ffs(static_cast<int>(word))) - 1;
#else
    return static_cast<std::uint32_t>(std::countr_zero(word));
#endif
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

}  // namespace claid::cuda

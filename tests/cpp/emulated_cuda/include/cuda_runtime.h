// Stands in for CUDA's header: its words and functions for the device, on threads of grid.hpp.
#pragma once

#include <math.h>

#include <cstring>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

#include "../checks.hpp"
#include "cuda_runtime_api.h"

#define __host__
#define __device__
#define __global__
#define __launch_bounds__(...)
#define __shared__ static __attribute__((section("emulated_shared")))

// What it touches is not looked at as the plain accesses that they are on the host.
#define EMULATED_UNSEEN __attribute__((no_sanitize("thread")))

extern emulated::Index threadIdx, blockIdx, blockDim, gridDim;

struct int2 {
    int x, y;
};
inline int2 make_int2(int x, int y) { return {x, y}; }

namespace emulated {

// Puts a kernel on a stream.
cudaError_t enqueue(const cudaLaunchConfig_t& config, const void* kernel,
                    std::shared_ptr<void> call, std::size_t call_bytes, void (*body)(void*));

// A kernel and its arguments: all that its threads may read beside the device's memory.
template <class... Parameters>
struct Call {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> arguments;

    static void run(void* call) {
        const auto& self = *static_cast<const Call*>(call);
        std::apply(self.kernel, self.arguments);
    }
};

// Copies that ended threads left unfinished (copies.cpp).
void forget_copies();

cudaError_t function_attributes(cudaFuncAttributes* attributes);
cudaError_t set_dynamic_shared(const void* kernel, int bytes);
cudaError_t most_blocks(int* blocks, int threads, std::size_t dynamic_shared);

template <class T>
struct Shuffled {
    T brought;
    unsigned source;
    T result;
};

template <class T>
void complete_shuffle(void* const (&brought)[32], unsigned mask) {
    for (unsigned lane = 0; lane < 32; ++lane) {
        if ((mask >> lane & 1) == 0) continue;
        auto& mine = *static_cast<Shuffled<T>*>(brought[lane]);
        if ((mask >> mine.source & 1) == 0) fail("a shuffle from a lane that takes no part in it");
        mine.result = static_cast<const Shuffled<T>*>(brought[mine.source])->brought;
    }
}

template <class T>
T shuffle(unsigned mask, T value, unsigned source) {
    Shuffled<T> own{value, source, value};
    collective(mask, complete_shuffle<T>, &own);
    return own.result;
}

struct Reduced {
    unsigned value, result;
};
inline void complete_minimum(void* const (&brought)[32], unsigned mask) {
    unsigned least = 0xFFFFFFFF;
    for (unsigned lane = 0; lane < 32; ++lane) {
        if ((mask >> lane & 1) == 0) continue;
        const unsigned value = static_cast<const Reduced*>(brought[lane])->value;
        least = value < least ? value : least;
    }
    for (unsigned lane = 0; lane < 32; ++lane) {
        if ((mask >> lane & 1) != 0) static_cast<Reduced*>(brought[lane])->result = least;
    }
}

// Nothing comes between reading and writing, for the device's threads are on one of the host's.
template <class T, class Change>
EMULATED_UNSEEN T change_atomically(T* target, const Change& change) {
    may_switch();
    wait_while_held(target);
    touch(target, sizeof(T), Access::atomic);
    const T before = *target;
    *target = change(before);
    return before;
}

}  // namespace emulated

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
    using Call = emulated::Call<Parameters...>;
    auto call = std::make_shared<Call>(kernel, std::tuple(static_cast<Parameters>(arguments)...));
    return emulated::enqueue(*config, reinterpret_cast<const void*>(kernel), std::move(call),
                             sizeof(Call), Call::run);
}
template <class Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, Kernel* /*kernel*/) {
    return emulated::function_attributes(attributes);
}
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute /*attribute*/, int bytes) {
    return emulated::set_dynamic_shared(reinterpret_cast<const void*>(kernel), bytes);
}
template <class Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel* /*kernel*/,
                                                          int threads, std::size_t shared) {
    return emulated::most_blocks(blocks, threads, shared);
}

inline void __syncthreads() { emulated::sync_threads(); }
inline void __nanosleep(unsigned) { emulated::pause(); }

// Lanes from the first of a segment of `width` on; outside of it a lane reads its own value.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    const unsigned w = static_cast<unsigned>(width), first = emulated::lane() / w * w;
    return emulated::shuffle(mask, value, first + static_cast<unsigned>(source) % w);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    const unsigned w = static_cast<unsigned>(width), lane = emulated::lane();
    return emulated::shuffle(mask, value, lane % w + delta < w ? lane + delta : lane);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
    const unsigned w = static_cast<unsigned>(width), lane = emulated::lane();
    const unsigned source = lane ^ static_cast<unsigned>(bits);
    return emulated::shuffle(mask, value, source / w <= lane / w ? source : lane);
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned value) {
    emulated::Reduced own{value, 0};
    emulated::collective(mask, emulated::complete_minimum, &own);
    return own.result;
}

template <class T>
T atomicAdd(T* target, std::type_identity_t<T> value) {
    return emulated::change_atomically(target, [=](T before) { return before + value; });
}
template <class T>
T atomicMin(T* target, std::type_identity_t<T> value) {
    return emulated::change_atomically(target,
                                       [=](T before) { return value < before ? value : before; });
}
template <class T>
T atomicMax(T* target, std::type_identity_t<T> value) {
    return emulated::change_atomically(target,
                                       [=](T before) { return value > before ? value : before; });
}
template <class T>
T atomicOr(T* target, std::type_identity_t<T> value) {
    return emulated::change_atomically(target, [=](T before) { return before | value; });
}

inline int __popc(int word) { return __builtin_popcount(static_cast<unsigned>(word)); }
inline int __ffs(int word) { return __builtin_ffs(word); }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned __float_as_uint(float x) {
    unsigned bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}
// Byte i of the result is the one of first (0 to 3) and second (4 to 7) that hex digit i names.
inline unsigned __byte_perm(unsigned first, unsigned second, unsigned selector) {
    const std::uint64_t both = std::uint64_t{second} << 32 | first;
    unsigned result = 0;
    for (unsigned i = 0; i < 4; ++i) {
        result |= static_cast<unsigned>(both >> 8 * (selector >> 4 * i & 7) & 0xFF) << 8 * i;
    }
    return result;
}
inline float __double2float_rn(double x) { return static_cast<float>(x); }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double x) { return sqrt(x); }
inline int __double2int_rn(double x) { return static_cast<int>(rint(x)); }

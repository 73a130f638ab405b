#include "device.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "checks.hpp"
#include "cuda/ptx.cuh"
#include "cuda_runtime.h"

namespace emulated {
namespace {

constexpr std::size_t kAlignment = 256;
constexpr std::size_t kStaticShared = 256;  // what tree_kernel has, and some
constexpr std::size_t kOrdinaryShared = 48U << 10;

struct State {
    Device device;
    int current = 0;
    std::uint64_t fail_in = 0, launches = 0;
    bool failed = false;
    std::map<std::byte*, std::size_t> blocks;  // allocated
    std::size_t used = 0, kept = 0;            // kept: freed, and still the pool's
    std::map<const void*, std::size_t> dynamic_shared;
    std::vector<std::function<void()>> work;  // of all streams, in the order given
    std::string launch_failure;
};
State state;

// What a call returns before it does anything.
bool fails_now() {
    if (state.fail_in == 0 || --state.fail_in > 0) return false;
    state.failed = true;
    return true;
}

bool on_heap(const void* p) {
    const auto* const at = static_cast<const std::byte*>(p);
    return at >= device_memory_begin() && at < device_memory_begin() + device_memory_bytes();
}

std::size_t rounded(std::size_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// First fit, with a gap that is nobody's behind every allocation.
std::byte* allocate(std::size_t bytes) {
    std::byte* at = device_memory_begin() + kAlignment;
    for (const auto& [begin, size] : state.blocks) {
        if (at + rounded(bytes) + kAlignment <= begin) break;
        at = begin + rounded(size) + kAlignment;
    }
    if (at + rounded(bytes) + kAlignment > device_memory_begin() + device_memory_bytes()) {
        return nullptr;
    }
    state.blocks[at] = bytes;
    state.used += rounded(bytes);
    mark_allocated(at, bytes);
    std::memset(at, 0xA5, bytes);
    return at;
}

void free_now(void* memory) {
    const auto found = state.blocks.find(static_cast<std::byte*>(memory));
    if (found == state.blocks.end()) {
        std::fprintf(stderr, "emulated device: a free of what is not allocated\n");
        std::abort();
    }
    mark_free(memory, found->second);
    state.used -= rounded(found->second);
    state.kept += rounded(found->second);
    state.blocks.erase(found);
}

// A failed launch takes down what was to come after it.
void drain() {
    std::vector<std::function<void()>> work;
    work.swap(state.work);
    for (const auto& step : work) step();
}

void unless_failed(std::function<void()> step) {
    state.work.push_back([step = std::move(step)] {
        if (state.launch_failure.empty()) step();
    });
}

std::string last_failure;

cudaError_t result_of_work() {
    if (state.launch_failure.empty()) return cudaSuccess;
    last_failure = std::exchange(state.launch_failure, {});
    std::fprintf(stderr, "emulated device: %s\n", last_failure.c_str());
    return cudaErrorLaunchFailure;
}

}  // namespace

Device& device() { return state.device; }
void fail_call(std::uint64_t n) {
    state.fail_in = n;
    state.failed = false;
}
bool call_failed() { return state.failed; }
std::size_t allocated_bytes() {
    drain();
    return state.used;
}
std::uint64_t launches() { return state.launches; }

void* upload(const void* from, std::size_t bytes) {
    std::byte* const memory = allocate(bytes);
    std::memcpy(memory, from, bytes);
    mark_written(memory, bytes);
    return memory;
}
void release(void* memory) {
    drain();
    free_now(memory);
}

cudaError_t enqueue(const cudaLaunchConfig_t& config, const void* kernel,
                    std::shared_ptr<void> call, std::size_t call_bytes, void (*body)(void*)) {
    if (fails_now()) return cudaErrorUnknown;
    constexpr unsigned kMostThreads = 1024, kMostRows = 65535;
    const auto allowed = state.dynamic_shared.find(kernel);
    const std::size_t most =
        allowed != state.dynamic_shared.end() ? allowed->second : kOrdinaryShared - kStaticShared;
    if (config.gridDim.x == 0 || config.gridDim.y == 0 || config.gridDim.y > kMostRows ||
        config.blockDim.x == 0 || config.blockDim.x > kMostThreads ||
        config.dynamicSmemBytes > most) {
        return cudaErrorInvalidValue;
    }
    constexpr unsigned kMostResident = 6;
    const unsigned resident = std::min(kMostResident, config.gridDim.x * config.gridDim.y);
    const Launch launch{config.gridDim,
                        config.blockDim.x,
                        config.dynamicSmemBytes,
                        resident,
                        std::min(resident, state.device.least_resident),
                        body,
                        call.get()};
    unless_failed([launch, call = std::move(call), call_bytes] {
        set_arguments(call.get(), call_bytes);
        forget_copies();
        ++state.launches;
        state.launch_failure = run(launch);
    });
    return cudaSuccess;
}

cudaError_t function_attributes(cudaFuncAttributes* attributes) {
    if (fails_now()) return cudaErrorUnknown;
    attributes->sharedSizeBytes = kStaticShared;
    return cudaSuccess;
}
cudaError_t set_dynamic_shared(const void* kernel, int bytes) {
    if (fails_now()) return cudaErrorUnknown;
    if (static_cast<std::size_t>(bytes) + kStaticShared > state.device.shared_bytes) {
        return cudaErrorInvalidValue;
    }
    state.dynamic_shared[kernel] = static_cast<std::size_t>(bytes);
    return cudaSuccess;
}
cudaError_t most_blocks(int* blocks, int threads, std::size_t dynamic_shared) {
    if (fails_now()) return cudaErrorUnknown;
    constexpr int kThreadsAtOnce = 2048;
    constexpr std::size_t kReserved = 1024;  // a block
    const std::size_t each = dynamic_shared + kStaticShared + kReserved;
    *blocks = std::min(kThreadsAtOnce / threads,
                       static_cast<int>((state.device.shared_bytes + kReserved) / each));
    return cudaSuccess;
}

}  // namespace emulated

using emulated::state;

cudaError_t cudaGetLastError() { return cudaSuccess; }
const char* cudaGetErrorString(cudaError_t error) {
    switch (error) {
        case cudaErrorLaunchFailure:
            return emulated::last_failure.c_str();
        case cudaErrorInvalidValue:
            return "invalid argument";
        case cudaErrorMemoryAllocation:
            return "out of memory";
        default:
            return "made to fail";
    }
}
cudaError_t cudaGetDeviceCount(int* count) {
    if (emulated::fails_now()) return cudaErrorUnknown;
    *count = state.device.count;
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
    if (emulated::fails_now()) return cudaErrorUnknown;
    *device = state.current;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
    if (device < 0 || device >= state.device.count) return cudaErrorInvalidDevice;
    if (emulated::fails_now()) return cudaErrorUnknown;
    state.current = device;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int /*device*/) {
    if (emulated::fails_now()) return cudaErrorUnknown;
    std::snprintf(properties->name, sizeof properties->name, "emulated device");
    properties->major = state.device.major;
    properties->minor = state.device.minor;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int /*device*/) {
    if (emulated::fails_now()) return cudaErrorUnknown;
    *value = attribute == cudaDevAttrMultiProcessorCount
                 ? state.device.processors
                 : static_cast<int>(state.device.shared_bytes);
    return cudaSuccess;
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
    if (emulated::fails_now()) return cudaErrorUnknown;
    *total = state.device.memory_bytes;
    const std::size_t taken = state.used + state.kept;
    *free = taken < *total ? *total - taken : 0;
    return cudaSuccess;
}
cudaError_t cudaMemPoolCreate(cudaMemPool_t* pool, const cudaMemPoolProps* /*properties*/) {
    if (emulated::fails_now()) return cudaErrorUnknown;
    static char one_pool;
    *pool = reinterpret_cast<cudaMemPool_t>(&one_pool);
    return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) {
    return emulated::fails_now() ? cudaErrorUnknown : cudaSuccess;
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, std::size_t) {
    if (emulated::fails_now()) return cudaErrorUnknown;
    emulated::drain();
    state.kept = 0;
    return cudaSuccess;
}
cudaError_t cudaMallocFromPoolAsync(void** memory, std::size_t bytes, cudaMemPool_t, cudaStream_t) {
    if (emulated::fails_now()) return cudaErrorUnknown;
    emulated::drain();  // what was freed in stream order before is free
    state.kept -= std::min(state.kept, emulated::rounded(bytes));
    if (state.used + state.kept + emulated::rounded(bytes) > state.device.memory_bytes) {
        return cudaErrorMemoryAllocation;
    }
    *memory = emulated::allocate(bytes);
    return *memory != nullptr ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFreeAsync(void* memory, cudaStream_t) {
    state.work.push_back([memory] { emulated::free_now(memory); });
    return cudaSuccess;
}
// Pageable memory of the host is read before the call returns, and written before it returns.
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind,
                            cudaStream_t) {
    if (emulated::fails_now()) return cudaErrorUnknown;
    if (bytes == 0) return cudaSuccess;
    if (!emulated::on_heap(to)) {
        emulated::drain();
        if (!state.launch_failure.empty()) return emulated::result_of_work();
        if (!emulated::all_written(from, bytes)) {
            state.launch_failure = "a copy to the host of what nobody wrote";
            return emulated::result_of_work();
        }
        std::memcpy(to, from, bytes);
        return cudaSuccess;
    }
    const auto* const begin = static_cast<const std::byte*>(from);
    std::vector<std::byte> staged(begin, begin + bytes);
    emulated::unless_failed([to, staged = std::move(staged)] {
        std::memcpy(to, staged.data(), staged.size());
        emulated::mark_written(to, staged.size());
    });
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t) {
    if (emulated::fails_now()) return cudaErrorUnknown;
    emulated::unless_failed([=] {
        std::memset(memory, value, bytes);
        emulated::mark_written(memory, bytes);
    });
    return cudaSuccess;
}
struct EmulatedEvent {
    std::uint64_t ticks = 0;
};
cudaError_t cudaEventCreate(cudaEvent_t* event) {
    if (emulated::fails_now()) return cudaErrorUnknown;
    *event = new EmulatedEvent;
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    state.work.push_back([event] { delete event; });
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
    if (emulated::fails_now()) return cudaErrorUnknown;
    emulated::unless_failed([event] { event->ticks = emulated::ticks(); });
    return cudaSuccess;
}
// A tick is a millisecond.
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
    if (emulated::fails_now()) return cudaErrorUnknown;
    *milliseconds = static_cast<float>(end->ticks - start->ticks);
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) {
    if (emulated::fails_now()) return cudaErrorUnknown;
    emulated::drain();
    return emulated::result_of_work();
}

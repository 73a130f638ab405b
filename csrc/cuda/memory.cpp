#include "cuda/memory.hpp"

#include <cstdint>
#include <map>
#include <mutex>
#include <utility>

#include "cuda/check.hpp"

namespace claid::cuda {
namespace {

constexpr std::size_t kKeptShare = 4;  // a quarter

int current_device() {
    int device = 0;
    check(cudaGetDevice(&device), "asking for the current device");
    return device;
}

cudaMemPool_t make_pool(int device) {
    cudaMemPoolProps properties{};
    properties.allocType = cudaMemAllocationTypePinned;
    properties.location.type = cudaMemLocationTypeDevice;
    properties.location.id = device;
    cudaMemPool_t pool = nullptr;
    check(cudaMemPoolCreate(&pool, &properties), "making a memory pool");
    std::uint64_t kept = device_memory().total / kKeptShare;
    check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &kept),
          "setting up the memory pool");
    return pool;
}

// The current device's pool; it lives as long as the process.
cudaMemPool_t pool() {
    static std::mutex mutex;
    static std::map<int, cudaMemPool_t> pools;
    const int device = current_device();
    const std::scoped_lock lock(mutex);
    cudaMemPool_t& found = pools[device];
    if (found == nullptr) found = make_pool(device);
    return found;
}

}  // namespace

DeviceGuard::DeviceGuard(int device) : before_(current_device()) {
    check(cudaSetDevice(device), "choosing the device");
}

DeviceGuard::~DeviceGuard() { cudaSetDevice(before_); }

DeviceMemory device_memory() {
    DeviceMemory memory{};
    check(cudaMemGetInfo(&memory.free, &memory.total), "asking for the size of device memory");
    return memory;
}

Allocation::Allocation(std::size_t bytes, cudaStream_t stream) : stream_(stream) {
    void* data = nullptr;
    const cudaError_t result = cudaMallocFromPoolAsync(&data, bytes, pool(), stream);
    if (result == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        return;
    }
    check(result, "allocating device memory");
    data_ = static_cast<std::byte*>(data);
}

Allocation::~Allocation() {
    if (data_ != nullptr) cudaFreeAsync(data_, stream_);
}

Allocation::Allocation(Allocation&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), stream_(other.stream_) {}

Allocation& Allocation::operator=(Allocation&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(stream_, other.stream_);
    return *this;
}

void trim_pool() { check(cudaMemPoolTrimTo(pool(), 0), "trimming the memory pool"); }

}  // namespace claid::cuda

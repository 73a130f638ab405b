// Device memory in stream order, and the current device, both given back whatever happens.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

namespace claid::cuda {

class DeviceGuard {
  public:
    explicit DeviceGuard(int device);
    ~DeviceGuard();
    DeviceGuard(const DeviceGuard&) = delete;
    DeviceGuard& operator=(const DeviceGuard&) = delete;

  private:
    int before_ = 0;
};

// Bytes of a device's memory.
struct DeviceMemory {
    std::size_t free, total;
};
DeviceMemory device_memory();

// Memory of the current device, from the backend's own pool. The pool keeps up to kKeptShare of
// the device's memory between calls, for mapping it anew takes longer than a small batch.
class Allocation {
  public:
    Allocation() = default;
    // Holds nothing where memory is short; throws CudaError for any other failure.
    Allocation(std::size_t bytes, cudaStream_t stream);
    ~Allocation();
    Allocation(Allocation&& other) noexcept;
    Allocation& operator=(Allocation&& other) noexcept;

    [[nodiscard]] std::byte* get() const { return data_; }
    explicit operator bool() const { return data_ != nullptr; }

  private:
    std::byte* data_ = nullptr;
    cudaStream_t stream_ = nullptr;
};

// Gives what the current device's pool keeps, and does not use, back to the device.
void trim_pool();

}  // namespace claid::cuda

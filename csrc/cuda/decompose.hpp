// Algorithm 1 on a CUDA device: the same trees as claid::decompose, bit for bit. No CUDA header is
// needed to include this.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "claid/types.hpp"

namespace claid::cuda {

enum class Real : std::int32_t { float16, bfloat16, float32, float64 };

std::size_t size_of(Real type);

// One image's patch features; strides are in elements.
struct FeatureView {
    const void* values = nullptr;  // [N, D]
    Real type = Real::float32;
    std::int32_t on_host = 0;  // 1: contiguous in host memory, to be copied to the device
    std::int64_t row_stride = 0;
    std::int64_t column_stride = 1;
    std::size_t dims = 0;  // D
    Grid grid{};           // N = grid.patches()
};

// A device, and the stream (a cudaStream_t) that the features are ready on.
struct Place {
    int device = 0;
    std::uintptr_t stream = 0;
};

struct Availability {
    bool available;
    std::string reason;  // the devices found, or why there are none
};

// Whether decompose can run here.
Availability availability();

// The device's memory is too small for the batch.
class OutOfMemoryError : public std::bad_alloc {
  public:
    OutOfMemoryError(std::string message, std::size_t needs, std::size_t half_needs)
        : needs(needs), half_needs(half_needs), message_(std::move(message)) {}
    [[nodiscard]] const char* what() const noexcept override { return message_.c_str(); }

    std::size_t needs;       // bytes, at least
    std::size_t half_needs;  // the first half of the batch; 0 where there is but one image

  private:
    std::string message_;
};

// A call of the CUDA runtime failed.
struct CudaError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Milliseconds of one call.
struct Timing {
    double upload = 0, quantise = 0, affinity = 0, tree = 0;  // on the device, one after another
    // In the tree, added up over its blocks: at work on a node, and of this in k-sums.
    double busy = 0, sweeps = 0;
    std::uint64_t rounds = 0;  // of k-sums
    std::uint64_t moves = 0;
    std::uint64_t products = 0;  // that the moves took
};

// The trees do not depend on the batch. All work is put on the place's stream; it is waited for
// only to bring the trees back. Throws NotFiniteError, OutOfMemoryError, CudaError.
std::vector<RegionTree> decompose(std::span<const FeatureView> batch, const Options& options,
                                  Place place, Timing* timing = nullptr);

}  // namespace claid::cuda

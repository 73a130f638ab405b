// Tensors of other libraries, without a copy, by the DLPack protocol.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

#include "cuda/decompose.hpp"

namespace bindings {

// A matrix on a CUDA device, held until this goes.
class DeviceMatrix {
  public:
    // Takes over a capsule that __dlpack__ gave. Throws std::invalid_argument unless it is a matrix
    // of float16, bfloat16, float32 or float64 on a CUDA device.
    explicit DeviceMatrix(pybind11::capsule capsule);
    ~DeviceMatrix();
    DeviceMatrix(DeviceMatrix&& other) noexcept;
    DeviceMatrix& operator=(DeviceMatrix&&) = delete;

    [[nodiscard]] std::int64_t rows() const { return rows_; }
    [[nodiscard]] int device() const { return device_; }
    // All of the view but the grid.
    [[nodiscard]] const claid::cuda::FeatureView& view() const { return view_; }

  private:
    void* managed_ = nullptr;
    bool versioned_ = false;
    std::int64_t rows_ = 0;
    int device_ = 0;
    claid::cuda::FeatureView view_;
};

}  // namespace bindings

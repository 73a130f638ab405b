#include "bindings/dlpack.hpp"

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace py = pybind11;

namespace bindings {
namespace {

// The protocol's structures, version 1 and before, as its specification lays them out.
constexpr std::int32_t kCudaDevice = 2, kCudaManaged = 13;
constexpr std::uint8_t kFloat = 2, kBfloat = 4;
constexpr std::uint32_t kKnownMajorVersion = 1;

struct Tensor {
    void* data;
    std::int32_t device_type, device;
    std::int32_t dimensions;
    std::uint8_t type_code, type_bits;
    std::uint16_t type_lanes;
    std::int64_t* shape;
    std::int64_t* strides;  // in elements; null: C-contiguous
    std::uint64_t byte_offset;
};
struct Managed {
    Tensor tensor;
    void* context;
    void (*deleter)(Managed*);
};
struct ManagedVersioned {
    std::uint32_t major, minor;
    void* context;
    void (*deleter)(ManagedVersioned*);
    std::uint64_t flags;
    Tensor tensor;
};

claid::cuda::Real real_of(const Tensor& tensor) {
    using claid::cuda::Real;
    if (tensor.type_lanes == 1) {
        if (tensor.type_code == kBfloat && tensor.type_bits == 16) return Real::bfloat16;
        if (tensor.type_code == kFloat && tensor.type_bits == 16) return Real::float16;
        if (tensor.type_code == kFloat && tensor.type_bits == 32) return Real::float32;
        if (tensor.type_code == kFloat && tensor.type_bits == 64) return Real::float64;
    }
    throw std::invalid_argument(
        "features on a CUDA device must be float16, bfloat16, float32 or float64, got DLPack type "
        "code " +
        std::to_string(tensor.type_code) + " of " + std::to_string(tensor.type_bits) + " bits");
}

const Tensor& tensor_of(void* managed, bool versioned) {
    return versioned ? static_cast<ManagedVersioned*>(managed)->tensor
                     : static_cast<Managed*>(managed)->tensor;
}

// The capsule stays its producer's until all of it is found good.
claid::cuda::FeatureView checked(const Tensor& tensor) {
    if (tensor.device_type != kCudaDevice && tensor.device_type != kCudaManaged) {
        throw std::invalid_argument("features must be on a CUDA device, got DLPack device type " +
                                    std::to_string(tensor.device_type));
    }
    if (tensor.dimensions != 2 || tensor.shape[0] < 1 || tensor.shape[1] < 1) {
        throw std::invalid_argument("features must be (N, D), with at least one row and column");
    }
    claid::cuda::FeatureView view;
    view.values = static_cast<const std::byte*>(tensor.data) + tensor.byte_offset;
    view.type = real_of(tensor);
    view.row_stride = tensor.strides != nullptr ? tensor.strides[0] : tensor.shape[1];
    view.column_stride = tensor.strides != nullptr ? tensor.strides[1] : 1;
    view.dims = static_cast<std::size_t>(tensor.shape[1]);
    return view;
}

}  // namespace

DeviceMatrix::DeviceMatrix(py::capsule capsule)
    : versioned_(std::string_view(capsule.name()) == "dltensor_versioned") {
    if (!versioned_ && std::string_view(capsule.name()) != "dltensor") {
        throw std::invalid_argument("features must be a DLPack capsule that nobody has used yet");
    }
    void* const managed = capsule.get_pointer<void>();
    if (versioned_ && static_cast<ManagedVersioned*>(managed)->major != kKnownMajorVersion) {
        throw std::invalid_argument("features came by an unknown version of DLPack");
    }
    const Tensor& tensor = tensor_of(managed, versioned_);
    view_ = checked(tensor);
    rows_ = tensor.shape[0];
    device_ = tensor.device;
    if (PyCapsule_SetName(capsule.ptr(),
                          versioned_ ? "used_dltensor_versioned" : "used_dltensor") != 0) {
        throw py::error_already_set();
    }
    managed_ = managed;
}

DeviceMatrix::~DeviceMatrix() {
    if (managed_ == nullptr) return;
    if (versioned_) {
        auto* const managed = static_cast<ManagedVersioned*>(managed_);
        if (managed->deleter != nullptr) managed->deleter(managed);
    } else {
        auto* const managed = static_cast<Managed*>(managed_);
        if (managed->deleter != nullptr) managed->deleter(managed);
    }
}

DeviceMatrix::DeviceMatrix(DeviceMatrix&& other) noexcept
    : managed_(std::exchange(other.managed_, nullptr)),
      versioned_(other.versioned_),
      rows_(other.rows_),
      device_(other.device_),
      view_(other.view_) {}

}  // namespace bindings

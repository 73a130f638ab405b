#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda/block.cuh"
#include "cuda/kernels.hpp"
#include "cuda/launch.cuh"
#include "cuda/q15.cuh"

namespace claid::cuda {
namespace {

constexpr std::uint32_t kQuantiseThreads = 256;
constexpr std::uint32_t kRowsPerBlock = kQuantiseThreads / kLanes;
constexpr double kQ15One = 32767.0;

__device__ float to_float(float x) { return x; }
__device__ float to_float(double x) { return __double2float_rn(x); }
__device__ float to_float(__half x) { return __half2float(x); }
__device__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

// Lane j += lane j + 8, then 4, 2, 1; the sum is lane 0's, and all get it.
__device__ double sum_lanes(double value, unsigned mask) {
    for (int half = kLanes / 2; half > 0; half /= 2) {
        value += __shfl_down_sync(mask, value, static_cast<unsigned>(half), kLanes);
    }
    return __shfl_sync(mask, value, 0, kLanes);
}

template <class T>
__device__ void quantise_row(const Image& image, std::uint64_t image_number, std::uint32_t row,
                             std::uint64_t* not_finite) {
    const std::uint32_t lane = threadIdx.x % kLanes;
    const unsigned mask = 0xFFFFU << (threadIdx.x % 32 - lane);
    const std::uint64_t dims = image.features.dims;
    const T* const x = static_cast<const T*>(image.features.values) +
                       static_cast<std::int64_t>(row) * image.features.row_stride;
    const std::int64_t step = image.features.column_stride;
    const auto load = [x, step](std::uint64_t k) {
        return to_float(x[static_cast<std::int64_t>(k) * step]);
    };
    const RowNorms part = lane_norms(load, dims, lane);
    const double squared_norm = sum_lanes(part.squared_norm, mask);
    const double energy = sum_lanes(part.energy, mask);

    if (!isfinite(squared_norm)) {
        const std::uint64_t column = first_not_finite(load, dims, lane);
        if (column < dims) {
            Block::least(*not_finite, NotFinitePlace::of(image_number, row, column));
        }
    }
    const bool usable = squared_norm > 0.0 && isfinite(squared_norm);
    const double scale = usable ? __ddiv_rn(kQ15One, __dsqrt_rn(squared_norm)) : 0.0;
    std::int16_t* const q = image.rows + std::uint64_t{row} * image.stride;
    std::int32_t square = 0;
#pragma unroll 8
    for (std::uint32_t k = lane; k < image.stride; k += kLanes) {
        const double scaled = usable && k < dims ? __dmul_rn(load(k), scale) : 0.0;
        const std::int32_t value = __double2int_rn(scaled);
        q[k] = static_cast<std::int16_t>(value);
        square += value * value;
    }
    for (int half = kLanes / 2; half > 0; half /= 2) {
        square += __shfl_xor_sync(mask, square, half, kLanes);
    }
    if (lane == 0) {
        image.squares[row] = square;
        image.energy[row] = __double2float_rn(energy);
    }
}

__device__ void clear_row(const Image& image, std::uint32_t row) {
    std::int16_t* const q = image.rows + std::uint64_t{row} * image.stride;
    for (std::uint32_t k = threadIdx.x % kLanes; k < image.stride; k += kLanes) q[k] = 0;
    if (threadIdx.x % kLanes == 0) {
        image.squares[row] = 0;
        image.energy[row] = 0.0F;
    }
}

__global__ void __launch_bounds__(kQuantiseThreads)
    quantise_kernel(const Image* images, std::uint32_t first, std::uint64_t* not_finite) {
    const std::uint32_t number = first + blockIdx.y;
    const Image& image = images[number];
    const std::uint32_t row = blockIdx.x * kRowsPerBlock + threadIdx.x / kLanes;
    if (row >= image.padded) return;
    if (row >= image.patches) {
        clear_row(image, row);
        return;
    }
    switch (image.features.type) {
        case Real::float16:
            return quantise_row<__half>(image, number, row, not_finite);
        case Real::bfloat16:
            return quantise_row<__nv_bfloat16>(image, number, row, not_finite);
        case Real::float32:
            return quantise_row<float>(image, number, row, not_finite);
        case Real::float64:
            return quantise_row<double>(image, number, row, not_finite);
    }
}

__global__ void __launch_bounds__(kBlockThreads)
    high_energy_kernel(const Image* images, std::uint32_t first) {
    __shared__ EnergyShared shared;
    Block block;
    find_high_energy(block, shared, images[first + blockIdx.x]);
}

}  // namespace

void launch_quantise(const Group& group, std::uint64_t* not_finite, cudaStream_t stream) {
    const dim3 blocks(group.most_padded / kRowsPerBlock, group.count);
    launch("quantise_kernel", quantise_kernel, {blocks, kQuantiseThreads}, stream, group.images,
           group.first, not_finite);
}

void launch_high_energy(const Group& group, cudaStream_t stream) {
    launch("high_energy_kernel", high_energy_kernel, {group.count, kBlockThreads}, stream,
           group.images, group.first);
}

}  // namespace claid::cuda

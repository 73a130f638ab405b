// The kernels, launched: one function a step, in the order of the way of the data. Each checks its
// launch and throws CudaError; none waits.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "cuda/image.hpp"

namespace claid::cuda {

// Images first .. first + count - 1 of a batch, whose largest padded number of patches is given.
struct Group {
    const Image* images;  // of the whole batch, in device memory
    std::uint32_t first;
    std::uint32_t count;
    std::uint32_t most_padded;
};

void launch_quantise(const Group& group, std::uint64_t* not_finite, cudaStream_t stream);
void launch_high_energy(const Group& group, cudaStream_t stream);
void launch_affinity(const Group& group, std::int32_t threshold, cudaStream_t stream);

// Where the tree kernel's blocks have their Scratch: in shared memory, or in `global`.
struct TreeLaunch {
    std::uint32_t blocks;
    std::size_t scratch_bytes;  // a block
    std::byte* global;          // [blocks, scratch_bytes], or null
};

// How many blocks can work at once with this much scratch in shared memory; 0: it does not fit.
std::uint32_t tree_blocks(int device, std::size_t scratch_bytes);

void launch_trees(const Group& group, const Work& work, const Options& options,
                  const TreeLaunch& launch, cudaStream_t stream);

}  // namespace claid::cuda

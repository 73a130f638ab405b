#include "cuda/block.cuh"
#include "cuda/kernels.hpp"
#include "cuda/launch.cuh"
#include "cuda/tree.cuh"

namespace claid::cuda {
namespace {

constexpr std::uint32_t kRootThreads = 256;

// Queues the roots of a group behind all that the groups before it found. One block.
__global__ void __launch_bounds__(kRootThreads)
    queue_roots_kernel(Work work, std::uint32_t first_image, std::uint32_t count) {
    Counters& counters = *work.counters;
    const std::uint32_t first = counters.records;
    const bool fits = std::uint64_t{first} + count <= work.record_capacity;
    for (std::uint32_t i = threadIdx.x; fits && i < count; i += kRootThreads) {
        Record root;
        root.image = first_image + i;
        root.size = work.images[root.image].patches;
        work.records[first + i] = root;
        work.ready[first + i] = 1;
    }
    __syncthreads();
    if (threadIdx.x != 0) return;
    counters.next = first;
    counters.pending = fits ? count : 0;
    if (fits) {
        counters.records = first + count;
    } else {
        counters.overflow = 1;
    }
}

__global__ void __launch_bounds__(kBlockThreads)
    tree_kernel(Work work, Options options, std::byte* global, std::size_t scratch_bytes) {
    __shared__ Shared shared;
    std::byte* const scratch =
        global != nullptr ? global + blockIdx.x * scratch_bytes : dynamic_shared<std::byte>();
    Block block;
    Grower(block, shared, work, options, scratch).run();
}

}  // namespace

std::uint32_t tree_blocks(int device, std::size_t scratch_bytes) {
    int processors = 0, most_shared = 0, at_once = 0;
    check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device),
          "asking for the number of multiprocessors");
    check(cudaDeviceGetAttribute(&most_shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
          "asking for the size of shared memory");
    cudaFuncAttributes own{};
    check(cudaFuncGetAttributes(&own, tree_kernel), "asking for tree_kernel's attributes");
    if (scratch_bytes + own.sharedSizeBytes > static_cast<std::size_t>(most_shared)) return 0;
    check(cudaFuncSetAttribute(tree_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               most_shared - static_cast<int>(own.sharedSizeBytes)),
          "asking for shared memory");
    check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&at_once, tree_kernel, kBlockThreads,
                                                        scratch_bytes),
          "asking for the occupancy of tree_kernel");
    return static_cast<std::uint32_t>(processors * at_once);
}

void launch_trees(const Group& group, const Work& work, const Options& options,
                  const TreeLaunch& launch, cudaStream_t stream) {
    cuda::launch("queue_roots_kernel", queue_roots_kernel, {1, kRootThreads}, stream, work,
                 group.first, group.count);
    const std::size_t dynamic = launch.global == nullptr ? launch.scratch_bytes : 0;
    cuda::launch("tree_kernel", tree_kernel, {launch.blocks, kBlockThreads, dynamic}, stream, work,
                 options, launch.global, launch.scratch_bytes);
}

}  // namespace claid::cuda

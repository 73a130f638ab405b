#include "toys.hpp"

#include "cuda/ptx.cuh"

namespace claid::test {
namespace {

__global__ void neighbour(unsigned* data, unsigned* /*flag*/) {
    __shared__ unsigned shared[kToyThreads];
    shared[threadIdx.x] = threadIdx.x;
    __syncthreads();
    data[blockIdx.x * kToyThreads + threadIdx.x] = shared[(threadIdx.x + 1) % kToyThreads];
}
__global__ void neighbour_without_barrier(unsigned* data, unsigned* /*flag*/) {
    __shared__ unsigned shared[kToyThreads];
    shared[threadIdx.x] = threadIdx.x;
    data[blockIdx.x * kToyThreads + threadIdx.x] = shared[(threadIdx.x + 1) % kToyThreads];
}
__global__ void all_write_one(unsigned* data, unsigned* /*flag*/) { data[0] = threadIdx.x; }
__global__ void all_add_to_one(unsigned* data, unsigned* flag) {
    atomicAdd(flag, 1U);
    data[blockIdx.x * kToyThreads + threadIdx.x] = 1;
}
__global__ void adds_and_reads_plainly(unsigned* data, unsigned* flag) {
    atomicAdd(flag, 1U);
    data[blockIdx.x * kToyThreads + threadIdx.x] = *flag;
}
__global__ void writes_past_the_end(unsigned* data, unsigned* /*flag*/) {
    data[blockIdx.x * kToyThreads + threadIdx.x + 1] = 1;
}
__global__ void reads_unwritten(unsigned* data, unsigned* flag) {
    if (threadIdx.x == 0) atomicAdd(flag, data[blockIdx.x]);
}
__global__ void reads_unwritten_shared(unsigned* data, unsigned* /*flag*/) {
    __shared__ unsigned shared[kToyThreads + 1];
    shared[threadIdx.x] = 1;
    __syncthreads();
    data[blockIdx.x * kToyThreads + threadIdx.x] = shared[threadIdx.x + 1];
}
__global__ void shuffles_in_halves(unsigned* data, unsigned* /*flag*/) {
    unsigned value = threadIdx.x;
    const unsigned half = threadIdx.x % 32 < 16 ? 0x0000FFFFU : 0xFFFF0000U;
    if (threadIdx.x % 32 < 16) value = __shfl_xor_sync(half, value, 1, 16);
    data[blockIdx.x * kToyThreads + threadIdx.x] = value;
}
__global__ void shuffle_names_lanes_elsewhere(unsigned* data, unsigned* /*flag*/) {
    unsigned value = threadIdx.x;
    if (threadIdx.x % 32 < 16) value = __shfl_xor_sync(0xFFFFFFFF, value, 1, 16);
    __syncthreads();
    data[blockIdx.x * kToyThreads + threadIdx.x] = value;
}
__global__ void shuffle_leaves_itself_out(unsigned* data, unsigned* /*flag*/) {
    data[blockIdx.x * kToyThreads + threadIdx.x] = __shfl_sync(0x0000FFFFU, threadIdx.x, 0);
}
__global__ void shuffles_from_no_partner(unsigned* data, unsigned* /*flag*/) {
    unsigned value = threadIdx.x;
    if (threadIdx.x % 32 < 16) value = __shfl_xor_sync(0x0000FFFFU, value, 16);
    data[blockIdx.x * kToyThreads + threadIdx.x] = value;
}
__global__ void half_a_barrier(unsigned* data, unsigned* /*flag*/) {
    if (threadIdx.x < kToyThreads / 2) __syncthreads();
    data[blockIdx.x * kToyThreads + threadIdx.x] = 1;
}
// The block that comes first writes, the other reads when a flag says so.
void publish(unsigned* data, unsigned* flag, bool release) {
    __shared__ unsigned turn;
    if (threadIdx.x == 0) turn = atomicAdd(flag, 1U);
    __syncthreads();
    if (turn == 0) {
        if (threadIdx.x == 1) data[0] = 7;
        __syncthreads();
        if (threadIdx.x == 0 && release) cuda::store_release(flag[1], 1);
        if (threadIdx.x == 0 && !release) atomicAdd(flag + 1, 1U);
    } else if (threadIdx.x == 0) {
        while (cuda::load_acquire(flag[1]) == 0) __nanosleep(100);
        data[1] = data[0];
    }
}
__global__ void publishes(unsigned* data, unsigned* flag) { publish(data, flag, true); }
__global__ void publishes_without_release(unsigned* data, unsigned* flag) {
    publish(data, flag, false);
}
__global__ void waits_for_nobody(unsigned* /*data*/, unsigned* flag) {
    while (cuda::load_acquire(*flag) == 0) __nanosleep(100);
}
unsigned of_the_host = 0;
__global__ void writes_to_the_host(unsigned* /*data*/, unsigned* /*flag*/) {
    unsigned* volatile host = &of_the_host;
    *host = 1;
}

// Each thread copies four words and reads its neighbour's.
void copy(unsigned* data, bool wait) {
    alignas(16) __shared__ unsigned shared[kToyThreads];
    const unsigned first = blockIdx.x * kToyThreads;
    data[first + threadIdx.x] = 3 * (first + threadIdx.x);
    __syncthreads();
    if (threadIdx.x % 4 == 0) {
        cuda::copy_async_16(&shared[threadIdx.x], &data[first + threadIdx.x]);
        cuda::end_copy_group();
        if (wait) cuda::wait_for_copy_groups<0>();
    }
    __syncthreads();
    data[first + threadIdx.x] = shared[threadIdx.x];
}

}  // namespace

void copy_and_wait(unsigned* data, unsigned* /*flag*/) { copy(data, true); }
void copy_without_wait(unsigned* data, unsigned* /*flag*/) { copy(data, false); }

const Toy kToys[] = {
    {"a barrier between writing and reading", neighbour, nullptr, false},
    {"no barrier", neighbour_without_barrier, "shared memory", true},
    {"all write one word", all_write_one, "a race with a write", true},
    {"all add to one word", all_add_to_one, nullptr, false},
    {"atomic beside plain", adds_and_reads_plainly, "a race with", true},
    {"past the end", writes_past_the_end, "outside what is allocated", true},
    {"unwritten device memory", reads_unwritten, "a read of what nobody wrote", true},
    {"unwritten shared memory", reads_unwritten_shared, "a read of what nobody wrote", true},
    {"shuffles in halves", shuffles_in_halves, nullptr, false},
    {"lanes that are elsewhere", shuffle_names_lanes_elsewhere, "no thread can go on", false},
    {"a mask without the lane itself", shuffle_leaves_itself_out, "whose mask it is not in", false},
    {"a source outside the mask", shuffles_from_no_partner, "takes no part in it", false},
    {"half a barrier", half_a_barrier, "barrier", false},
    {"released and acquired", publishes, nullptr, false},
    {"acquired and not released", publishes_without_release, "a race with a write", true},
    {"waits for ever", waits_for_nobody, "wait for each other for ever", false},
    {"the host's memory", writes_to_the_host, "a write to the host's memory", true},
};
const std::size_t kToyCount = sizeof kToys / sizeof kToys[0];

}  // namespace claid::test

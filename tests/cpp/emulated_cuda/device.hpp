// The emulated device, as a test sets it up.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emulated {

struct Device {
    int major = 9, minor = 0;
    int count = 1;
    int processors = 2;
    unsigned least_resident = 1;  // blocks at work at once; how many more is left to chance
    std::size_t shared_bytes = std::size_t{227} << 10;  // a block may have
    std::size_t memory_bytes = std::size_t{512} << 20;
};
Device& device();

// The n-th call of the runtime from now on fails, from 1; 0: none.
void fail_call(std::uint64_t n);
// Whether that call has come.
bool call_failed();

std::size_t allocated_bytes();
std::uint64_t launches();

// Memory of the device with these bytes in it, for the device's own features.
void* upload(const void* from, std::size_t bytes);
void release(void* memory);

}  // namespace emulated

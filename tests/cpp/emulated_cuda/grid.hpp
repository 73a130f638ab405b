// Runs a grid of blocks of threads on the host, every thread a fiber, in an order drawn by chance,
// and stops where the threads of a block or of a warp do not meet as CUDA wants them to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace emulated {

struct Index {
    unsigned x = 1, y = 1, z = 1;
};

struct Launch {
    Index blocks;
    unsigned threads = 1;
    std::size_t dynamic_shared = 0;  // bytes a block
    unsigned resident = 1;           // blocks at work at once, at most
    unsigned least_resident = 1;     // and at least, while there are so many
    void (*body)(void*) = nullptr;   // what every thread runs
    void* call = nullptr;            // with this
};

// Runs all blocks to their end. Returns what went wrong, or nothing.
std::string run(const Launch& launch);

// From here on the order of threads follows from this.
void set_seed(std::uint64_t seed);
// A number below `end`, from the same source.
std::uint32_t draw(std::uint32_t end);

// Asked before each atomic change with its target and the number of the block that makes it: as
// long as it is true the thread waits. Null lets all go on.
using Hold = std::function<bool(const void* target, std::uint32_t block)>;
void hold_atomics(Hold hold);

// What follows is called by the threads of the device.

// Whether a thread of the device is running, and neither the host nor a warp's instruction.
bool on_device();
// Ends the launch; the host is told why.
[[noreturn]] void fail(const std::string& why);
// As __syncthreads.
void sync_threads();
// A place where other threads may come first.
void may_switch();
// The same, in a loop that waits for another block.
void pause();
// Before an atomic change of the target.
void wait_while_held(const void* target);
std::byte* dynamic_shared();
// Goes up by one whenever a thread is resumed; the host may ask, too.
std::uint64_t ticks();
unsigned lane();

// An instruction that the lanes in `mask` of a warp execute together: when all are there, one
// calls complete with what each brought.
using Complete = void (*)(void* const (&brought)[32], unsigned mask);
void collective(unsigned mask, Complete complete, void* brought);

// Who is running, for checks.hpp.
struct Self {
    std::uint32_t block = 0;   // its number in the grid
    std::uint16_t thread = 0;  // its number in the block
    std::uint32_t phase = 0;   // the launch's barriers so far; no two blocks' are the same
};
Self self();
bool on_own_stack(const void* address);

}  // namespace emulated

// What compute-sanitizer's memcheck, initcheck and racecheck look for: accesses outside what was
// allocated, reads of what nobody wrote, and two threads at one byte, one of them writing, with
// neither a barrier nor a release and an acquire in between.
//
// The kernels are compiled with -fsanitize=thread, which calls a function before every load and
// store (instrumentation.cpp), but without that sanitizer's library. Where the address sanitizer
// is used instead, only the first of the three is looked for, by it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace emulated {

// One byte's history: who wrote it last, and who read it last.
struct Cell {
    std::uint32_t write_phase = 0, read_phase = 0;
    std::uint16_t writer = 0, reader = 0;
};

enum class Access { read, write, atomic };

// The shared memory of a block: its __shared__ variables, and what the launch gave it.
class SharedChecks {
  public:
    void reset(const void* variables, std::size_t variable_bytes, const void* dynamic,
               std::size_t dynamic_bytes);
    // Null where the bytes are not in there.
    Cell* find(const void* address, std::size_t bytes);

  private:
    const std::byte *variables_ = nullptr, *dynamic_ = nullptr;
    std::vector<Cell> variable_cells_, dynamic_cells_;
};

// All that was done before is seen by the launch that begins now.
void begin_launch();
// A block comes from a barrier, or begins.
std::uint32_t begin_phase(std::uint32_t block);
void use_checks(SharedChecks& checks);
// What the threads read and nobody writes: the arguments of the launch.
void set_arguments(const void* begin, std::size_t bytes);

// A thread of the device touches memory.
void touch(const void* address, std::size_t bytes, Access access);
// It passes on, with a flag, what its block has done up to the last barrier; and takes such up.
void release_at(const void* flag);
void acquire_at(const void* flag);

// Memory of the device, all of it in one place, of which parts are allocated.
std::byte* device_memory_begin();
std::size_t device_memory_bytes();
void mark_allocated(const void* begin, std::size_t bytes);
void mark_free(const void* begin, std::size_t bytes);
void mark_written(const void* begin, std::size_t bytes);
// Whether the host may read it.
bool all_written(const void* begin, std::size_t bytes);

}  // namespace emulated

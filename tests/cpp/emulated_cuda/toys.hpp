// Small kernels, most of them wrong, that show what the emulated device notices.
#pragma once

#include <cstddef>

namespace claid::test {

inline constexpr unsigned kToyBlocks = 2, kToyThreads = 64, kToyWords = kToyBlocks * kToyThreads;

struct Toy {
    const char* name;
    void (*kernel)(unsigned* data, unsigned* flag);  // [kToyWords], unwritten; 0
    const char* found;  // a part of what the launch's error says; null: nothing is wrong
    bool by_accesses;   // found by looking at loads and stores, which a sanitized build does not
};
extern const Toy kToys[];
extern const std::size_t kToyCount;

// data[i] = 3 i for all i, by cp.async; waited for, or not.
void copy_and_wait(unsigned* data, unsigned* flag);
void copy_without_wait(unsigned* data, unsigned* flag);

}  // namespace claid::test

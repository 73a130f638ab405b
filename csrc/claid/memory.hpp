// A plain array aligned to a cache line, not initialised.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace claid {

inline constexpr std::size_t kCacheLine = 64;

constexpr std::size_t round_up(std::size_t value, std::size_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

inline constexpr std::size_t kHugePage = 2 * 1024 * 1024;

// Large arrays are asked for in huge pages: touching them for the first time in small ones costs
// more than filling them. They are aligned to no more than a cache line all the same, so that the
// allocator can keep them between calls.
class AlignedBytes {
  public:
    AlignedBytes() = default;
    explicit AlignedBytes(std::size_t size) : data_(::operator new(size, kAlignment)) {
#if defined(__linux__)
        if (size < kHugePage) return;
        auto* start = static_cast<std::byte*>(data_.get());
        const auto address = reinterpret_cast<std::uintptr_t>(start);
        const std::size_t skipped = round_up(address, kHugePage) - address;
        if (skipped < size) {
            madvise(start + skipped, (size - skipped) / kHugePage * kHugePage, MADV_HUGEPAGE);
        }
#endif
    }
    [[nodiscard]] void* get() const { return data_.get(); }

  private:
    static constexpr std::align_val_t kAlignment{kCacheLine};
    struct Free {
        void operator()(void* p) const { ::operator delete(p, kAlignment); }
    };
    std::unique_ptr<void, Free> data_;
};

template <class T>
class AlignedArray {
  public:
    AlignedArray() = default;
    explicit AlignedArray(std::size_t size) : size_(size), bytes_(size * sizeof(T)) {}

    [[nodiscard]] T* data() { return static_cast<T*>(bytes_.get()); }
    [[nodiscard]] const T* data() const { return static_cast<const T*>(bytes_.get()); }
    [[nodiscard]] std::size_t size() const { return size_; }
    T& operator[](std::size_t i) { return data()[i]; }
    const T& operator[](std::size_t i) const { return data()[i]; }

  private:
    std::size_t size_ = 0;
    AlignedBytes bytes_;
};

}  // namespace claid

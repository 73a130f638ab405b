// A plain array aligned to a cache line, not initialised.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace claid {

inline constexpr std::size_t kCacheLine = 64;

constexpr std::size_t round_up(std::size_t value, std::size_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

template <class T>
class AlignedArray {
  public:
    AlignedArray() = default;
    explicit AlignedArray(std::size_t size)
        : size_(size),
          data_(static_cast<T*>(::operator new(size * sizeof(T), std::align_val_t{kCacheLine}))) {}

    [[nodiscard]] T* data() { return data_.get(); }
    [[nodiscard]] const T* data() const { return data_.get(); }
    [[nodiscard]] std::size_t size() const { return size_; }
    T& operator[](std::size_t i) { return data_.get()[i]; }
    const T& operator[](std::size_t i) const { return data_.get()[i]; }

  private:
    struct Free {
        void operator()(T* p) const { ::operator delete(p, std::align_val_t{kCacheLine}); }
    };
    std::size_t size_ = 0;
    std::unique_ptr<T, Free> data_;
};

}  // namespace claid

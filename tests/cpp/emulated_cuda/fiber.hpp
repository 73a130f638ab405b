// A thread of the emulated device: a function with a stack of its own that runs until it hands
// over, all on one thread of the host.
#pragma once

#include <ucontext.h>

#include <csetjmp>
#include <cstddef>

namespace emulated {

class Fiber {
  public:
    // The host's own, from which the others are resumed.
    Fiber() = default;
    // Calls entry on the first resume; it must not return.
    explicit Fiber(void (*entry)());
    ~Fiber();
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

    // Begins anew on the next resume; what was on the stack is gone, destructors do not run.
    void restart();

    // Goes on in `to`; returns when somebody switches back.
    void switch_to(Fiber& to);

    [[nodiscard]] bool on_stack(const void* address) const {
        const auto* const at = static_cast<const std::byte*>(address);
        return at >= stack_ && at < stack_ + kStackBytes;
    }

  private:
    static void begin();

    static constexpr std::size_t kStackBytes = std::size_t{64} << 10;

    void (*entry_)() = nullptr;
    std::byte* stack_ = nullptr;
    bool begun_ = false;
    std::jmp_buf place_{};
    ucontext_t start_{};
    // For the address sanitizer.
    void* fake_stack_ = nullptr;
    const void* bottom_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace emulated

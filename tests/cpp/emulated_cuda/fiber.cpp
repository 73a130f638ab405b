// longjmp between stacks is what it is for here; the fortified one takes it for a mistake.
#undef _FORTIFY_SOURCE

#include "fiber.hpp"

#include <sys/mman.h>

#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulated {
namespace {

Fiber* came_from = nullptr;
Fiber* going_to = nullptr;

}  // namespace

Fiber::Fiber(void (*entry)()) : entry_(entry) {
    void* const stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) throw std::bad_alloc();
    stack_ = static_cast<std::byte*>(stack);
    bottom_ = stack;
    size_ = kStackBytes;
}

Fiber::~Fiber() {
    if (stack_ == nullptr) return;
    restart();
    munmap(stack_, kStackBytes);
}

void Fiber::restart() {
    begun_ = false;
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(stack_, kStackBytes);
#endif
}

void Fiber::begin() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &came_from->bottom_, &came_from->size_);
#endif
    going_to->entry_();
}

// The first time through a context, which makes a system call; from then on by jumps, which do not.
void Fiber::switch_to(Fiber& to) {
    came_from = this;
    going_to = &to;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&fake_stack_, to.bottom_, to.size_);
#endif
    if (_setjmp(place_) == 0) {
        if (to.begun_ || to.entry_ == nullptr) _longjmp(to.place_, 1);
        to.begun_ = true;
        getcontext(&to.start_);
        to.start_.uc_stack.ss_sp = to.stack_;
        to.start_.uc_stack.ss_size = kStackBytes;
        to.start_.uc_link = nullptr;
        makecontext(&to.start_, &Fiber::begin, 0);
        setcontext(&to.start_);
    }
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake_stack_, nullptr, nullptr);
#endif
}

}  // namespace emulated

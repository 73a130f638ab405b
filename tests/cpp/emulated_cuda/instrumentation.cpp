// What -fsanitize=thread has the kernels call before every load and store.
#include <cstddef>

#include "checks.hpp"

using emulated::Access;
using emulated::touch;

// The compiler's names. NOLINTBEGIN(bugprone-reserved-identifier)
#define CLAID_HOOKS(bytes)                                                          \
    void __tsan_read##bytes(void* p) { touch(p, bytes, Access::read); }             \
    void __tsan_write##bytes(void* p) { touch(p, bytes, Access::write); }           \
    void __tsan_unaligned_read##bytes(void* p) { touch(p, bytes, Access::read); }   \
    void __tsan_unaligned_write##bytes(void* p) { touch(p, bytes, Access::write); } \
    void __tsan_volatile_read##bytes(void* p) { touch(p, bytes, Access::read); }    \
    void __tsan_volatile_write##bytes(void* p) { touch(p, bytes, Access::write); }  \
    void __tsan_read_write##bytes(void* p) {                                        \
        touch(p, bytes, Access::read);                                              \
        touch(p, bytes, Access::write);                                             \
    }

extern "C" {
CLAID_HOOKS(1)
CLAID_HOOKS(2)
CLAID_HOOKS(4)
CLAID_HOOKS(8)
CLAID_HOOKS(16)

void __tsan_read_range(void* p, std::size_t bytes) { touch(p, bytes, Access::read); }
void __tsan_write_range(void* p, std::size_t bytes) { touch(p, bytes, Access::write); }
void __tsan_vptr_update(void** /*pointer*/, void* /*table*/) {}
void __tsan_vptr_read(void** /*pointer*/) {}
void __tsan_func_entry(void* /*caller*/) {}
void __tsan_func_exit() {}
void __tsan_init() {}
// The host's, in shared_ptr: kernels have no std::atomic.
int __tsan_atomic32_fetch_add(volatile int* p, int value, int /*order*/) {
    return __atomic_fetch_add(p, value, __ATOMIC_ACQ_REL);
}
}
// NOLINTEND(bugprone-reserved-identifier)

// cp.async: a thread's copies to shared memory, and the groups that it waits for.
#include <cstring>
#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "cuda/ptx.cuh"

namespace claid::cuda {
namespace {

struct Copy {
    void* to;
    const void* from;
};
constexpr std::size_t kCopyBytes = 16;

struct Pending {
    std::vector<Copy> open;  // of no group yet
    std::deque<std::vector<Copy>> groups;
};

// By block and thread; empty again when all has been waited for.
std::map<std::pair<std::uint32_t, std::uint16_t>, Pending> pending_copies;

Pending& own() {
    const emulated::Self me = emulated::self();
    return pending_copies[{me.block, me.thread}];
}

}  // namespace

void copy_async_16(void* to, const void* from) {
    if (reinterpret_cast<std::uintptr_t>(to) % kCopyBytes != 0 ||
        reinterpret_cast<std::uintptr_t>(from) % kCopyBytes != 0) {
        emulated::fail("a copy of 16 bytes that is not aligned to them");
    }
    emulated::touch(to, kCopyBytes, emulated::Access::write);
    std::memset(to, 0xA5, kCopyBytes);  // it may come at any time from now on
    own().open.push_back({to, from});
}

void end_copy_group() {
    Pending& mine = own();
    mine.groups.push_back(std::exchange(mine.open, {}));
}

void wait_for_copy_groups(unsigned pending) {
    Pending& mine = own();
    while (mine.groups.size() > pending) {
        for (const Copy& copy : mine.groups.front()) {
            emulated::touch(copy.from, kCopyBytes, emulated::Access::read);
            emulated::touch(copy.to, kCopyBytes, emulated::Access::write);
            std::memcpy(copy.to, copy.from, kCopyBytes);
        }
        mine.groups.pop_front();
    }
}

}  // namespace claid::cuda

void emulated::forget_copies() { claid::cuda::pending_copies.clear(); }

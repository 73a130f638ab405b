#include "checks.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <new>
#include <string>
#include <unordered_map>

#include "grid.hpp"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

extern char start_of_program[] __asm__("__executable_start");
extern char end_of_program[] __asm__("_end");

namespace emulated {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSeesAll = false;
#else
constexpr bool kSeesAll = true;
#endif

constexpr std::size_t kDeviceBytes = std::size_t{1} << 30;

// Phases of no block.
constexpr std::uint32_t kNotAllocated = 0, kNeverWritten = 1, kByHost = 2;

// Beside the number of a thread, which is below 1024.
constexpr std::uint16_t kAtomic = 0x8000, kSeveral = 0x4000, kThread = 0x03FF;

// What a block knows of others: the phases of each that are over for it.
using Known = std::vector<std::uint32_t>;

struct Launched {
    std::uint32_t first_phase = kByHost + 1, phases = kByHost + 1;
    std::vector<std::uint32_t> owner;  // of each phase from the first on, a block
    std::vector<Known> known;          // by block
    std::unordered_map<const void*, Known> released;
    SharedChecks* shared = nullptr;
    const std::byte* arguments = nullptr;
    std::size_t argument_bytes = 0;
};
Launched launched;

std::byte* reserve(std::size_t bytes) {
    void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    return static_cast<std::byte*>(memory);
}

Cell* device_cells() {
    static Cell* const cells = reinterpret_cast<Cell*>(reserve(kDeviceBytes * sizeof(Cell)));
    return cells;
}

bool in(const void* address, const void* begin, std::size_t bytes) {
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    const auto from = reinterpret_cast<std::uintptr_t>(begin);
    return at >= from && at - from < bytes;
}

bool on_device_heap(const void* address) {
    return in(address, device_memory_begin(), kDeviceBytes);
}

Cell* device_cell(const void* address) {
    return device_cells() + (static_cast<const std::byte*>(address) - device_memory_begin());
}

Known& grown(Known& known, std::size_t size) {
    if (known.size() < size) known.resize(size, 0);
    return known;
}

void merge(Known& into, const Known& from) {
    grown(into, from.size());
    for (std::size_t b = 0; b < from.size(); ++b) into[b] = std::max(into[b], from[b]);
}

Known& known_to(std::uint32_t block) {
    if (launched.known.size() <= block) launched.known.resize(std::size_t{block} + 1);
    return launched.known[block];
}

// Whether what a thread did in a phase is over, and seen, for the one that runs.
bool before(std::uint32_t phase, std::uint16_t thread, const Self& me) {
    if (phase < launched.first_phase) return true;
    const std::uint32_t owner = launched.owner[phase - launched.first_phase];
    if (owner == me.block) return phase < me.phase || (thread & kThread) == me.thread;
    const Known& known = known_to(me.block);
    return owner < known.size() && phase < known[owner];
}

std::string at(const void* address, std::size_t offset) {
    const auto* const byte = static_cast<const std::byte*>(address) + offset;
    if (on_device_heap(byte)) {
        return " at byte " + std::to_string(byte - device_memory_begin()) + " of device memory";
    }
    return " in shared memory";
}

void touch_byte(Cell& cell, const void* address, std::size_t offset, Access access,
                const Self& me) {
    if (cell.write_phase == kNotAllocated) {
        fail("an access outside what is allocated" + at(address, offset));
    }
    const bool atomic = access == Access::atomic;
    if (access != Access::write && cell.write_phase == kNeverWritten) {
        fail("a read of what nobody wrote" + at(address, offset));
    }
    const auto harmless = [&](std::uint32_t phase, std::uint16_t thread) {
        return (atomic && (thread & kAtomic) != 0) || before(phase, thread, me);
    };
    if (!harmless(cell.write_phase, cell.writer)) {
        fail("a race with a write of thread " + std::to_string(cell.writer & kThread) +
             at(address, offset));
    }
    const auto mark = static_cast<std::uint16_t>(me.thread | (atomic ? kAtomic : 0));
    if (access != Access::read) {
        const bool several = (cell.reader & kSeveral) != 0 && cell.read_phase == me.phase;
        if (several || !harmless(cell.read_phase, cell.reader)) {
            fail("a race with a read of thread " + std::to_string(cell.reader & kThread) +
                 at(address, offset));
        }
        cell.write_phase = me.phase;
        cell.writer = mark;
        return;
    }
    const bool another = cell.read_phase == me.phase && (cell.reader & kThread) != me.thread;
    const bool several = cell.read_phase == me.phase && (cell.reader & kSeveral) != 0;
    cell.read_phase = me.phase;
    cell.reader = static_cast<std::uint16_t>(mark | (another || several ? kSeveral : 0));
}

bool may_read(const void* address, std::size_t bytes) {
    return in(address, launched.arguments, launched.argument_bytes) ||
           in(address, start_of_program,
              static_cast<std::size_t>(end_of_program - start_of_program) - bytes);
}

}  // namespace

void SharedChecks::reset(const void* variables, std::size_t variable_bytes, const void* dynamic,
                         std::size_t dynamic_bytes) {
    Cell fresh;
    fresh.write_phase = kNeverWritten;
    variables_ = static_cast<const std::byte*>(variables);
    dynamic_ = static_cast<const std::byte*>(dynamic);
    variable_cells_.assign(variable_bytes, fresh);
    dynamic_cells_.assign(dynamic_bytes, fresh);
}

Cell* SharedChecks::find(const void* address, std::size_t bytes) {
    const auto* const at = static_cast<const std::byte*>(address);
    const auto cells_in = [&](const std::byte* begin, std::vector<Cell>& cells) -> Cell* {
        if (!in(at, begin, cells.size())) return nullptr;
        const auto place = static_cast<std::size_t>(at - begin);
        if (place + bytes > cells.size()) fail("an access past the end of shared memory");
        return cells.data() + place;
    };
    Cell* const found = cells_in(variables_, variable_cells_);
    return found != nullptr ? found : cells_in(dynamic_, dynamic_cells_);
}

void begin_launch() {
    launched.first_phase = launched.phases;
    launched.owner.clear();
    launched.known.clear();
    launched.released.clear();
}

std::uint32_t begin_phase(std::uint32_t block) {
    launched.owner.push_back(block);
    return launched.phases++;
}

void use_checks(SharedChecks& checks) { launched.shared = &checks; }

void set_arguments(const void* begin, std::size_t bytes) {
    launched.arguments = static_cast<const std::byte*>(begin);
    launched.argument_bytes = bytes;
}

void touch(const void* address, std::size_t bytes, Access access) {
    if (!kSeesAll || !on_device() || on_own_stack(address)) return;
    Cell* cells = launched.shared->find(address, bytes);
    if (cells == nullptr && on_device_heap(address)) cells = device_cell(address);
    if (cells == nullptr) {
        if (access == Access::read && may_read(address, bytes)) return;
        fail(access == Access::read ? "a read of the host's memory"
                                    : "a write to the host's memory");
    }
    const Self me = self();
    for (std::size_t i = 0; i < bytes; ++i) touch_byte(cells[i], address, i, access, me);
}

void release_at(const void* flag) {
    const Self me = self();
    Known& known = grown(known_to(me.block), std::size_t{me.block} + 1);
    known[me.block] = me.phase;
    launched.released[flag] = known;
}

void acquire_at(const void* flag) {
    const auto found = launched.released.find(flag);
    if (found != launched.released.end()) merge(known_to(self().block), found->second);
}

std::byte* device_memory_begin() {
    static std::byte* const memory = [] {
        std::byte* const reserved = reserve(kDeviceBytes);
#if defined(__SANITIZE_ADDRESS__)
        __asan_poison_memory_region(reserved, kDeviceBytes);
#endif
        return reserved;
    }();
    return memory;
}

std::size_t device_memory_bytes() { return kDeviceBytes; }

namespace {

void mark(const void* begin, std::size_t bytes, std::uint32_t phase) {
    if (!kSeesAll) return;
    Cell cell;
    cell.write_phase = phase;
    std::fill_n(device_cell(begin), bytes, cell);
}

}  // namespace

void mark_allocated(const void* begin, std::size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(begin, bytes);
#endif
    mark(begin, bytes, kNeverWritten);
}

void mark_free(const void* begin, std::size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __asan_poison_memory_region(begin, bytes);
#endif
    mark(begin, bytes, kNotAllocated);
}

void mark_written(const void* begin, std::size_t bytes) { mark(begin, bytes, kByHost); }

bool all_written(const void* begin, std::size_t bytes) {
    const Cell* const cells = device_cell(begin);
    return !kSeesAll || std::all_of(cells, cells + bytes, [](const Cell& cell) {
        return cell.write_phase > kNeverWritten;
    });
}

}  // namespace emulated

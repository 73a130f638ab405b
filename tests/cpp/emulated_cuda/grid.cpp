#include "grid.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "checks.hpp"
#include "fiber.hpp"

// What __shared__ variables lie in (include/cuda_runtime.h): one place for all blocks, which each
// finds as it left it.
extern std::byte start_of_shared[] __asm__("__start_emulated_shared");
extern std::byte end_of_shared[] __asm__("__stop_emulated_shared");

emulated::Index threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {
namespace {

constexpr unsigned kWarpLanes = 32;
constexpr int kPoison = 0xA5;

std::mt19937_64 random_source(1);
Hold held;

struct Block;

struct Thread {
    Thread();
    Fiber fiber;
    Block* block = nullptr;
    unsigned number = 0;
};

struct Warp {
    struct Arrival {
        unsigned mask;
        Complete complete;
        void* brought;
    };
    Arrival arrivals[kWarpLanes];
    unsigned waiting = 0, done = 0;
};

struct Block {
    std::uint32_t number = 0;
    Index index;
    std::vector<std::unique_ptr<Thread>> threads;
    std::vector<unsigned> runnable;
    std::vector<Warp> warps;
    unsigned at_barrier = 0, done = 0;
    bool idle = false;  // only threads that pause are left
    std::uint32_t phase = 0;
    std::vector<std::byte> shared, dynamic;
    SharedChecks checks;
};

struct Grid {
    const Launch* launch;
    std::vector<std::unique_ptr<Block>> blocks;  // at work
    std::uint32_t phases;                        // given out
    std::uint64_t without_progress;
    bool completing;  // a warp's instruction: it may look at the stacks of all lanes
    std::string failure;
};

Grid grid;
Fiber host;
Thread* current = nullptr;
std::uint64_t resumed = 0;
Block* in_place = nullptr;  // whose __shared__ variables are there
// Blocks and the stacks of their threads, kept for the next launch.
std::vector<std::unique_ptr<Block>> spare;

std::size_t shared_bytes() { return static_cast<std::size_t>(end_of_shared - start_of_shared); }

void hand_over() {
    Thread& self = *current;
    self.fiber.switch_to(host);
}

[[noreturn]] void thread_main() {
    for (;;) {
        grid.launch->body(grid.launch->call);
        Block& block = *current->block;
        ++block.done;
        grid.without_progress = 0;
        Warp& warp = block.warps[current->number / kWarpLanes];
        warp.done |= 1U << current->number % kWarpLanes;
        if (block.at_barrier > 0)
            fail("a thread ended while others of its block wait at a barrier");
        hand_over();
    }
}

Thread::Thread() : fiber(thread_main) {}

void enter_phase(Block& block) { block.phase = begin_phase(block.number); }

void begin_block(Block& block, std::uint32_t number) {
    const Launch& launch = *grid.launch;
    block.number = number;
    block.index = {number % launch.blocks.x, number / launch.blocks.x, 0};
    block.shared.resize(shared_bytes());
    block.dynamic.resize(launch.dynamic_shared);
    std::memset(block.shared.data(), kPoison, block.shared.size());
    std::fill(block.dynamic.begin(), block.dynamic.end(), std::byte{kPoison});
    block.checks.reset(start_of_shared, block.shared.size(), block.dynamic.data(),
                       block.dynamic.size());
    block.at_barrier = block.done = 0;
    block.idle = false;
    block.warps.assign((launch.threads + kWarpLanes - 1) / kWarpLanes, {});
    block.runnable.clear();
    while (block.threads.size() < launch.threads) {
        block.threads.push_back(std::make_unique<Thread>());
    }
    for (unsigned t = 0; t < launch.threads; ++t) {
        block.threads[t]->block = &block;
        block.threads[t]->number = t;
        block.runnable.push_back(t);
    }
    enter_phase(block);
}

void bring_in(Block& block) {
    if (in_place == &block) return;
    if (in_place != nullptr) std::memcpy(in_place->shared.data(), start_of_shared, shared_bytes());
    std::memcpy(start_of_shared, block.shared.data(), shared_bytes());
    in_place = &block;
}

void resume(Thread& thread) {
    current = &thread;
    ++resumed;
    threadIdx = {thread.number, 0, 0};
    host.switch_to(thread.fiber);
    current = nullptr;
}

unsigned take_any(std::vector<unsigned>& from) {
    std::swap(from[draw(static_cast<std::uint32_t>(from.size()))], from.back());
    const unsigned taken = from.back();
    from.pop_back();
    return taken;
}

// Lets threads of one block run for a while.
void work_on(Block& block) {
    constexpr std::uint32_t kLongest = 3000;
    bring_in(block);
    use_checks(block.checks);
    blockIdx = block.index;
    block.idle = false;
    for (std::uint32_t steps = 1 + draw(kLongest); steps > 0; --steps) {
        if (block.runnable.empty() || block.idle || !grid.failure.empty()) return;
        resume(*block.threads[take_any(block.runnable)]);
    }
}

std::string where_threads_are() {
    std::string all = "no thread can go on:";
    for (const auto& block : grid.blocks) {
        unsigned in_warps = 0;
        for (const Warp& warp : block->warps) {
            in_warps += static_cast<unsigned>(__builtin_popcount(warp.waiting));
        }
        all += " block " + std::to_string(block->number) + " has " +
               std::to_string(block->at_barrier) + " threads at a barrier, " +
               std::to_string(in_warps) + " at a warp's instruction, " +
               std::to_string(block->done) + " at the end;";
    }
    return all;
}

// One turn: false when the launch is over.
bool turn(std::vector<std::uint32_t>& not_begun, unsigned resident) {
    while (grid.blocks.size() < resident && !not_begun.empty()) {
        grid.blocks.push_back(spare.empty() ? std::make_unique<Block>() : std::move(spare.back()));
        if (!spare.empty()) spare.pop_back();
        begin_block(*grid.blocks.back(), take_any(not_begun));
    }
    if (grid.blocks.empty()) return false;
    const auto first = draw(static_cast<std::uint32_t>(grid.blocks.size()));
    for (std::uint32_t i = 0; i < grid.blocks.size(); ++i) {
        auto& block = grid.blocks[(first + i) % grid.blocks.size()];
        if (block->runnable.empty()) continue;
        work_on(*block);
        if (block->done == grid.launch->threads) {
            std::swap(block, grid.blocks.back());
            spare.push_back(std::move(grid.blocks.back()));
            grid.blocks.pop_back();
        }
        return grid.failure.empty();
    }
    grid.failure = where_threads_are();
    return false;
}

void count_step() {
    constexpr std::uint64_t kPatience = 3'000'000;
    if (++grid.without_progress > kPatience) fail("the threads wait for each other for ever");
}

}  // namespace

std::string run(const Launch& launch) {
    grid.launch = &launch;
    grid.without_progress = 0;
    grid.completing = false;
    grid.failure.clear();
    gridDim = launch.blocks;
    blockDim = {launch.threads, 1, 1};
    begin_launch();
    std::vector<std::uint32_t> not_begun(std::size_t{launch.blocks.x} * launch.blocks.y);
    for (std::uint32_t b = 0; b < not_begun.size(); ++b) not_begun[b] = b;
    // Nothing promises that all blocks that could be resident are.
    const unsigned resident =
        launch.least_resident + draw(launch.resident - launch.least_resident + 1);
    while (turn(not_begun, resident)) {
    }
    for (auto& block : grid.blocks) {  // some are left after a failure
        for (auto& thread : block->threads) thread->fiber.restart();
        spare.push_back(std::move(block));
    }
    grid.blocks.clear();
    in_place = nullptr;
    return grid.failure;
}

void set_seed(std::uint64_t seed) { random_source.seed(seed); }

std::uint32_t draw(std::uint32_t end) {
    return static_cast<std::uint32_t>((random_source() >> 32) * end >> 32);
}

void hold_atomics(Hold hold) { held = std::move(hold); }

bool on_device() { return current != nullptr && !grid.completing; }

void fail(const std::string& why) {
    grid.failure = "block " + std::to_string(current->block->number) + ", thread " +
                   std::to_string(current->number) + ": " + why;
    hand_over();
    __builtin_unreachable();  // a failed launch is never resumed
}

void sync_threads() {
    Block& block = *current->block;
    const unsigned threads = grid.launch->threads;
    if (block.done > 0) fail("a barrier that some threads of the block never reach");
    if (++block.at_barrier == threads) {
        block.at_barrier = 0;
        grid.without_progress = 0;
        enter_phase(block);
        for (unsigned t = 0; t < threads; ++t) block.runnable.push_back(t);
    }
    hand_over();
}

void may_switch() {
    constexpr std::uint32_t kOneIn = 8;
    count_step();
    if (draw(kOneIn) != 0) return;
    current->block->runnable.push_back(current->number);
    hand_over();
}

void pause() {
    count_step();
    Block& block = *current->block;
    block.idle = block.runnable.empty();
    block.runnable.push_back(current->number);
    hand_over();
}

void wait_while_held(const void* target) {
    while (held && held(target, current->block->number)) pause();
}

std::uint64_t ticks() { return resumed; }

std::byte* dynamic_shared() { return current->block->dynamic.data(); }

unsigned lane() { return current->number % kWarpLanes; }

void collective(unsigned mask, Complete complete, void* brought) {
    Block& block = *current->block;
    const unsigned first = current->number - lane();
    Warp& warp = block.warps[first / kWarpLanes];
    if ((mask >> lane() & 1) == 0) fail("a lane at a warp's instruction whose mask it is not in");
    if ((mask & warp.done) != 0) fail("a warp's instruction whose mask names an ended thread");
    warp.arrivals[lane()] = {mask, complete, brought};
    warp.waiting |= 1U << lane();
    void* all[kWarpLanes] = {};
    for (unsigned l = 0; l < kWarpLanes; ++l) {
        if (((mask & warp.waiting) >> l & 1) == 0) continue;
        const Warp::Arrival& arrival = warp.arrivals[l];
        if (arrival.mask != mask || arrival.complete != complete) {
            fail("lanes of one warp are at different instructions, or name different masks");
        }
        all[l] = arrival.brought;
    }
    if ((warp.waiting & mask) != mask) {
        hand_over();
        return;
    }
    grid.completing = true;
    complete(all, mask);
    grid.completing = false;
    warp.waiting &= ~mask;
    for (unsigned l = 0; l < kWarpLanes; ++l) {
        if (l != lane() && (mask >> l & 1) != 0) block.runnable.push_back(first + l);
    }
}

Self self() {
    return {current->block->number, static_cast<std::uint16_t>(current->number),
            current->block->phase};
}

bool on_own_stack(const void* address) { return current->fiber.on_stack(address); }

}  // namespace emulated

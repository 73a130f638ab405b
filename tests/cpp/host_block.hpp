// The Block of cuda/block.cuh that is a loop over its threads: proof, without a GPU, that the
// algorithms find what the contract says, in whatever order the threads of a phase run.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "cuda/block.cuh"

namespace claid::test {

enum class ThreadOrder { ascending, descending, shuffled };

class HostBlock {
  public:
    HostBlock(int threads, ThreadOrder order, std::uint32_t seed = 1)
        : order_(order), random_(seed), threads_(threads), teams_(threads / cuda::kTeamLanes) {}

    [[nodiscard]] int threads() const { return threads_; }
    [[nodiscard]] int teams() const { return teams_; }

    template <class Body>
    void for_each_thread(const Body& body) {
        for_each(threads_, body);
    }
    template <class Body>
    void for_each_team(const Body& body) {
        for_each(teams_, body);
    }

    template <class Sum, class Term>
    Sum team_sum(std::uint32_t count, const Term& term) const {
        Sum sum = 0;
        for (std::uint32_t i = 0; i < count; ++i) sum += term(i);
        return sum;
    }
    template <class Body>
    void once(const Body& body) const {
        body();
    }

    void minimum(std::uint32_t& target, std::uint32_t value) const { least(target, value); }
    template <class T>
    static T add(T& target, T value) {
        return std::atomic_ref(target).fetch_add(value);
    }
    template <class T>
    static T least(T& target, T value) {
        const std::atomic_ref shared(target);
        T before = shared.load();
        while (value < before && !shared.compare_exchange_weak(before, value)) {
        }
        return before;
    }
    static void most(std::uint32_t& target, std::uint32_t value) {
        const std::atomic_ref shared(target);
        std::uint32_t before = shared.load();
        while (value > before && !shared.compare_exchange_weak(before, value)) {
        }
    }
    static void set_bits(std::uint32_t& target, std::uint32_t bits) {
        std::atomic_ref(target).fetch_or(bits);
    }
    static std::uint32_t load(std::uint32_t& target) { return std::atomic_ref(target).load(); }
    static void release(std::uint32_t& flag, std::uint32_t value) {
        std::atomic_ref(flag).store(value, std::memory_order_release);
    }
    static std::uint32_t acquire(std::uint32_t& flag) {
        return std::atomic_ref(flag).load(std::memory_order_acquire);
    }
    static std::uint64_t nanoseconds() { return 0; }
    static void pause() { std::this_thread::yield(); }

  private:
    template <class Body>
    void for_each(int count, const Body& body) {
        if (order_ == ThreadOrder::ascending) {
            for (int i = 0; i < count; ++i) body(i);
        } else if (order_ == ThreadOrder::descending) {
            for (int i = count - 1; i >= 0; --i) body(i);
        } else {
            std::vector<int> turns(static_cast<std::size_t>(count));
            std::iota(turns.begin(), turns.end(), 0);
            std::shuffle(turns.begin(), turns.end(), random_);
            for (const int i : turns) body(i);
        }
    }

    ThreadOrder order_;
    std::mt19937 random_;
    int threads_, teams_;
};

}  // namespace claid::test

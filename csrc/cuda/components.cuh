// The 8-connected components of the two clusters on the grid (Algorithm 1, connected regions), by
// union-find: a root is the lowest patch of its component.
#pragma once

#include "cuda/node.cuh"

namespace claid::cuda {

// Marks the components that are dropped, in their cursors; members never reach it.
inline constexpr std::uint32_t kDropped = 0x80000000;

class Components {
  public:
    __device__ Components(Block& block, Shared& shared, const Node& node)
        : block_(block),
          shared_(shared),
          node_(node),
          parent_(node.scratch.parent()),
          cursor_(node.scratch.cursor(node.image.padded)) {}

    // Adds the components of at least min_patches patches to the work, as children of `record`,
    // and publishes them.
    __device__ void publish(const Work& work, std::uint32_t record, std::int64_t min_patches) {
        mark_clusters();
        join_neighbours();
        count();
        reserve(work, min_patches);
        const std::uint32_t first = shared_.first_record;
        if (shared_.fits == 0) return;
        write_records(work, record, min_patches);
        write_members(work);
        const std::uint32_t published = shared_.component_count;
        block_.for_each_thread([&](int thread) {
            const auto threads = static_cast<std::uint32_t>(block_.threads());
            for (auto c = static_cast<std::uint32_t>(thread); c < published; c += threads) {
                block_.release(work.ready[first + c], 1);
            }
        });
    }

  private:
    template <class Body>
    __device__ void for_each_position(const Body& body) {
        block_.for_each_thread([&](int thread) {
            const auto threads = static_cast<std::uint32_t>(block_.threads());
            for (auto t = static_cast<std::uint32_t>(thread); t < node_.size; t += threads) {
                body(t, std::uint32_t{node_.scratch.patches[t]});
            }
        });
    }

    __device__ void mark_clusters() {
        const Scratch& scratch = node_.scratch;
        block_.for_each_thread([&](int thread) {
            const auto threads = static_cast<std::uint32_t>(block_.threads());
            const std::uint32_t words = node_.image.words();
            for (auto w = static_cast<std::uint32_t>(thread); w < words; w += threads) {
                scratch.ones[w] = 0;
            }
            for (auto t = static_cast<std::uint32_t>(thread); t < node_.size; t += threads) {
                const std::uint32_t p = scratch.patches[t];
                parent_[p] = p;
                cursor_[p] = 0;
            }
            if (thread == 0) {
                shared_.component_count = 0;
                shared_.component_members = 0;
            }
        });
        for_each_position([&](std::uint32_t t, std::uint32_t p) {
            if (scratch.cluster(t) == 1)
                block_.set_bits(scratch.ones[p / kLinkBits], 1U << p % kLinkBits);
        });
    }

    // Inside S, and in the same cluster as p.
    [[nodiscard]] __device__ bool beside(std::uint32_t p, std::uint32_t neighbour) const {
        const Scratch& scratch = node_.scratch;
        return bit(scratch.inside, neighbour) &&
               bit(scratch.ones, neighbour) == bit(scratch.ones, p);
    }
    [[nodiscard]] __device__ static bool bit(const std::uint32_t* words, std::uint32_t p) {
        return (words[p / kLinkBits] >> p % kLinkBits & 1) != 0;
    }

    // West, north-west, north and north-east; the other four see this patch as theirs.
    __device__ void join_neighbours() {
        const std::uint32_t width = node_.image.width();
        for_each_position([&](std::uint32_t, std::uint32_t p) {
            const std::uint32_t x = p % width;
            const auto visit = [&](std::uint32_t neighbour) {
                if (beside(p, neighbour)) join(p, neighbour);
            };
            if (x > 0) visit(p - 1);
            if (p < width) return;
            if (x > 0) visit(p - width - 1);
            visit(p - width);
            if (x + 1 < width) visit(p - width + 1);
        });
    }

    // Parents only ever fall, so what one thread hooks, another never unhooks: where a root got
    // another parent first, that parent is still to be joined.
    __device__ void join(std::uint32_t p, std::uint32_t q) {
        for (;;) {
            p = root_while_joining(p);
            q = root_while_joining(q);
            if (p == q) return;
            const std::uint32_t high = p > q ? p : q, low = p > q ? q : p;
            const std::uint32_t before = block_.least(parent_[high], low);
            if (before == high) return;
            p = before;
            q = low;
        }
    }

    [[nodiscard]] __device__ std::uint32_t root_while_joining(std::uint32_t p) {
        for (std::uint32_t up = block_.load(parent_[p]); up != p; up = block_.load(parent_[p]))
            p = up;
        return p;
    }
    [[nodiscard]] __device__ std::uint32_t root(std::uint32_t p) const {
        while (parent_[p] != p) p = parent_[p];
        return p;
    }

    __device__ void count() {
        for_each_position(
            [&](std::uint32_t, std::uint32_t p) { block_.add(cursor_[root(p)], 1U); });
    }

    // Room for the records and members of all components that are kept.
    __device__ void reserve(const Work& work, std::int64_t min_patches) {
        for_each_position([&](std::uint32_t, std::uint32_t p) {
            if (parent_[p] != p || cursor_[p] < min_patches) return;
            block_.add(shared_.component_count, 1U);
            block_.add(shared_.component_members, cursor_[p]);
        });
        block_.for_each_thread([&](int thread) {
            if (thread != 0) return;
            Counters& counters = *work.counters;
            const std::uint32_t count = shared_.component_count;
            const std::uint64_t members = shared_.component_members;
            shared_.first_record = block_.add(counters.records, count);
            shared_.first_member = block_.add(counters.members, members);
            const bool fits = std::uint64_t{shared_.first_record} + count <= work.record_capacity &&
                              shared_.first_member + members <= work.member_capacity;
            shared_.fits = fits ? 1 : 0;
            if (!fits) block_.most(counters.overflow, 1U);
            if (fits) block_.add(counters.pending, count);
        });
    }

    __device__ void write_records(const Work& work, std::uint32_t record,
                                  std::int64_t min_patches) {
        const std::uint32_t first_record = shared_.first_record;
        const std::uint64_t first_member = shared_.first_member;
        block_.for_each_thread([&](int thread) {
            if (thread == 0) {
                shared_.taken_records = 0;
                shared_.taken_members = 0;
            }
        });
        for_each_position([&](std::uint32_t t, std::uint32_t p) {
            if (parent_[p] != p) return;
            const std::uint32_t size = cursor_[p];
            if (size < min_patches) {
                cursor_[p] = kDropped;
                return;
            }
            const std::uint32_t place = block_.add(shared_.taken_members, size);
            cursor_[p] = place;
            Record child;
            child.first_member = first_member + place;
            child.parent = record;
            child.image = work.records[record].image;
            child.size = size;
            child.lowest_patch = p;
            child.cluster = node_.scratch.cluster(t);
            work.records[first_record + block_.add(shared_.taken_records, 1U)] = child;
        });
    }

    // In any order: the block that takes the record sorts them.
    __device__ void write_members(const Work& work) {
        std::uint16_t* const members = work.members + shared_.first_member;
        for_each_position([&](std::uint32_t, std::uint32_t p) {
            const std::uint32_t place = block_.add(cursor_[root(p)], 1U);
            if (place < kDropped) members[place] = static_cast<std::uint16_t>(p);
        });
    }

    Block& block_;
    Shared& shared_;
    const Node& node_;
    std::uint32_t* parent_;
    std::uint32_t* cursor_;  // of a root: the size, then where the next member goes
};

}  // namespace claid::cuda

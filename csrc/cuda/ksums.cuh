// k-sums with two clusters (Eq. 1 to 4), all patches of the node looked at at once.
//
// Sequential semantics, in parallel. Every patch t keeps q_t . (D_1 - D_0), so its gain
//     own - other = +-((N_1 - N_0) f_t + (F_1 - F_0) - 2 q_t . (D_1 - D_0))
// costs no product. Between two moves of a sweep the clusters do not change, so the visits up to
// the next move may all be made at once: the patch that moves next is the one of the earliest
// visit, not before the last move's, that wants to. Its move takes 2 q_m . q_t off (or adds it to)
// every sum: one row of products. A round is one phase, and there are moves + sweeps of them.
#pragma once

#include "claid/visiting_order.hpp"
#include "cuda/products.cuh"

namespace claid::cuda {

// The clusters as a whole: N_1 - N_0 and F_1 - F_0.
struct Balance {
    std::int64_t size;
    std::int64_t square;
};

// D_1 - D_0 and from it every patch's sum.
template <class Block>
CLAID_DEVICE Balance open_clusters(Block& block, Shared& shared, const Node& node) {
    const Image& image = node.image;
    const Scratch& scratch = node.scratch;
    const auto threads = static_cast<std::uint32_t>(block.threads());
    block.for_each_thread([&](int thread) {
        for (auto k = static_cast<std::uint32_t>(thread); k < image.stride; k += threads) {
            scratch.difference[k] = 0;
        }
        if (thread == 0) {
            shared.size_difference = 0;
            shared.square_difference = 0;
        }
    });

    // A thread adds up eight columns of every groups-th row.
    const std::uint32_t columns = image.stride / 8;
    const std::uint32_t groups = threads > columns ? threads / columns : 1;
    block.for_each_thread([&](int thread) {
        const auto first = static_cast<std::uint32_t>(thread);
        for (std::uint32_t unit = first; unit < columns * groups; unit += threads) {
            const std::uint32_t column = unit % columns;
            std::int32_t sum[8] = {};
            CLAID_UNROLL(4)
            for (std::uint32_t t = unit / columns; t < node.size; t += groups) {
                const std::uint64_t row = std::uint64_t{scratch.patches[t]} * image.stride;
                const Shorts q = reinterpret_cast<const Shorts*>(image.rows + row)[column];
                const std::int32_t sign = scratch.side[t] == 1 ? 1 : -1;
                for (int k = 0; k < 8; ++k) sum[k] += sign * q.value[k];
            }
            for (std::uint32_t k = 0; k < 8; ++k) {
                block.add(scratch.difference[8 * column + k], sum[k]);
            }
        }
        std::int32_t size = 0;
        std::int64_t square = 0;
        for (std::uint32_t t = first; t < node.size; t += threads) {
            const std::int32_t sign = scratch.side[t] == 1 ? 1 : -1;
            size += sign;
            square += std::int64_t{sign} * scratch.squares[t];
        }
        if (first < node.size) {
            block.add(shared.size_difference, size);
            block.add(shared.square_difference, static_cast<std::uint64_t>(square));
        }
    });
    block.for_each_team([&](int team) {
        const auto teams = static_cast<std::uint32_t>(block.teams());
        const auto* difference = reinterpret_cast<const Ints*>(scratch.difference);
        for (auto t = static_cast<std::uint32_t>(team); t < node.size; t += teams) {
            const std::uint64_t row = std::uint64_t{scratch.patches[t]} * image.stride;
            const auto* q = reinterpret_cast<const Shorts*>(image.rows + row);
            const std::int64_t sum =
                block.template team_sum<std::int64_t>(columns, [&](std::uint32_t i) {
                    const Shorts a = q[i];
                    const Ints low = difference[2 * i], high = difference[2 * i + 1];
                    std::int64_t part = 0;
                    for (int k = 0; k < 4; ++k) {
                        part += std::int64_t{a.value[k]} * low.value[k] +
                                std::int64_t{a.value[4 + k]} * high.value[k];
                    }
                    return part;
                });
            block.once([&] { scratch.sums[t] = sum; });
        }
    });
    return {shared.size_difference, static_cast<std::int64_t>(shared.square_difference)};
}

// A patch's earliest wish to move: its visit, and the cluster that it is in.
struct Mover {
    std::uint32_t key = kNone;

    static constexpr std::uint32_t key_of(std::uint32_t visit, std::uint32_t side) {
        return visit << 1 | side;
    }
    [[nodiscard]] constexpr bool found() const { return key != kNone; }
    [[nodiscard]] constexpr std::uint32_t visit() const { return key >> 1; }
    [[nodiscard]] constexpr std::uint32_t side() const { return key & 1; }
};

// A move on its way to the sums.
struct Move {
    const std::int32_t* products = nullptr;  // of the patch that moved, by patch
    std::uint32_t position = kNone;
    std::int64_t factor = 0;  // D_1 - D_0 changed by factor q_m
};

template <class Block>
class KSums {
  public:
    CLAID_DEVICE KSums(Block& block, Shared& shared, const Node& node, const Options& options)
        : block_(block),
          shared_(shared),
          node_(node),
          released_(options.rules == Rules::released),
          balance_(open_clusters(block, shared, node)) {
        block.for_each_thread([&](int thread) {
            if (thread == 0) shared.mover[0] = kNone;
        });
    }

    // One sweep; the number of its moves.
    CLAID_DEVICE std::uint32_t sweep(VisitingOrder order) {
        number_visits(order);
        std::uint32_t moves = 0, from_visit = 0;
        Move last;
        for (;;) {
            const Mover mover = first_mover(from_visit, last);
            if (!mover.found()) return moves;
            // Below 2^32: a, b and the visit are below 2^16, and a visit is at most k - 1.
            const std::uint32_t t = (order.a * mover.visit() + order.b) % node_.size;
            const std::int64_t sign = mover.side() == 1 ? 1 : -1;
            last = {product_row(block_, node_, t), t, -2 * sign};
            balance_.size -= 2 * sign;
            balance_.square -= 2 * sign * node_.scratch.squares[t];
            from_visit = mover.visit() + 1;
            ++moves;
        }
    }

  private:
    CLAID_DEVICE void number_visits(VisitingOrder order) {
        block_.for_each_thread([&](int thread) {
            const auto threads = static_cast<std::uint32_t>(block_.threads());
            for (auto v = static_cast<std::uint32_t>(thread); v < node_.size; v += threads) {
                node_.scratch.visit[(order.a * v + order.b) % node_.size] =
                    static_cast<std::uint16_t>(v);
            }
        });
    }

    // Brings the last move to the sums, then looks at all visits from from_visit on. The results
    // of three rounds take turns, so that the next round's can be cleared while a slow thread
    // still reads the last one's.
    CLAID_DEVICE Mover first_mover(std::uint32_t from_visit, const Move& last) {
        const Scratch& scratch = node_.scratch;
        std::uint32_t& earliest = shared_.mover[round_];
        round_ = round_ == 2 ? 0 : round_ + 1;
        std::uint32_t& cleared = shared_.mover[round_];
        const std::int64_t k = node_.size;
        const bool may_leave_zero = (k - balance_.size) / 2 > 1;
        const bool may_leave_one = (k + balance_.size) / 2 > 1;
        block_.for_each_thread([&](int thread) {
            std::uint32_t mine = kNone;
            const auto threads = static_cast<std::uint32_t>(block_.threads());
            for (auto t = static_cast<std::uint32_t>(thread); t < node_.size; t += threads) {
                if (last.products != nullptr) {
                    scratch.sums[t] += last.factor * last.products[scratch.patches[t]];
                    if (t == last.position) scratch.side[t] ^= 1;
                }
                if (scratch.visit[t] < from_visit) continue;
                const std::uint32_t side = scratch.side[t];
                const std::int64_t square = scratch.squares[t];
                const std::int64_t gain =
                    balance_.size * square + balance_.square - 2 * scratch.sums[t];
                if ((side == 1 ? gain : -gain) > (released_ ? square : 0) &&
                    (side == 1 ? may_leave_one : may_leave_zero)) {
                    const std::uint32_t key = Mover::key_of(scratch.visit[t], side);
                    mine = key < mine ? key : mine;
                }
            }
            block_.minimum(earliest, mine);
            if (thread == 0) cleared = kNone;
        });
        return {earliest};
    }

    Block& block_;
    Shared& shared_;
    const Node& node_;
    bool released_;
    Balance balance_;
    std::uint32_t round_ = 0;
};

// Sweeps until one makes no move, or options.max_passes. Returns the number of moves.
template <class Block>
CLAID_DEVICE std::uint64_t k_sums(Block& block, Shared& shared, const Node& node,
                                  const Options& options) {
    KSums<Block> state(block, shared, node, options);
    std::uint64_t moves = 0;
    for (std::int64_t sweep = 0; sweep < options.max_passes; ++sweep) {
        const auto order = VisitingOrder::of(options.seed, node.scratch.patches[0], node.size,
                                             static_cast<std::uint64_t>(sweep));
        const std::uint32_t moved = state.sweep(order);
        moves += moved;
        if (moved == 0) break;
    }
    return moves;
}

}  // namespace claid::cuda

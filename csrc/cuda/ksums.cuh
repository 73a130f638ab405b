// k-sums with two clusters (Eq. 1 to 4), all patches of the node looked at at once.
//
// Sequential semantics, in parallel. Every patch t keeps what leaving cluster 1 would gain it,
//     (N_1 - N_0) f_t + (F_1 - F_0) - 2 q_t . (D_1 - D_0),
// which is own - other in cluster 1 and other - own in cluster 0. Between two moves of a sweep the
// clusters do not change, so the visits up to the next move may all be made at once: the patch
// that moves next is the one of the earliest visit, not before the last move's, that wants to. Its
// move takes 2 |q_m - q_t|^2 = 2 (f_m + f_t - 2 q_m . q_t) off every gain when it leaves cluster 1,
// and adds it otherwise: one row of products. A round is one phase, and there are moves + sweeps
// of them.
#pragma once

#include "claid/visiting_order.hpp"
#include "cuda/products.cuh"

namespace claid::cuda {

// Every patch's gain, by D_1 - D_0. Returns N_1 - N_0.
__device__ inline std::int32_t open_clusters(Block& block, Shared& shared, const Node& node) {
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
#pragma unroll 4
            for (std::uint32_t t = unit / columns; t < node.size; t += groups) {
                const std::uint64_t row = std::uint64_t{scratch.patches[t]} * image.stride;
                const Shorts q = reinterpret_cast<const Shorts*>(image.rows + row)[column];
                const std::int32_t sign = scratch.cluster(t) == 1 ? 1 : -1;
                for (int k = 0; k < 8; ++k) sum[k] += sign * q.value[k];
            }
            for (std::uint32_t k = 0; k < 8; ++k) {
                block.add(scratch.difference[8 * column + k], sum[k]);
            }
        }
        std::int32_t size = 0;
        std::int64_t square = 0;
        for (std::uint32_t t = first; t < node.size; t += threads) {
            const std::int32_t sign = scratch.cluster(t) == 1 ? 1 : -1;
            size += sign;
            square += std::int64_t{sign} * scratch.squares[t];
        }
        if (first < node.size) {
            block.add(shared.size_difference, size);
            block.add(shared.square_difference, static_cast<std::uint64_t>(square));
        }
    });
    const std::int32_t sizes = shared.size_difference;
    const auto squares = static_cast<std::int64_t>(shared.square_difference);
    block.for_each_team([&](int team) {
        const auto teams = static_cast<std::uint32_t>(block.teams());
        const auto* difference = reinterpret_cast<const Ints*>(scratch.difference);
        for (auto t = static_cast<std::uint32_t>(team); t < node.size; t += teams) {
            const std::uint64_t row = std::uint64_t{scratch.patches[t]} * image.stride;
            const auto* q = reinterpret_cast<const Shorts*>(image.rows + row);
            const std::int64_t sum = block.team_sum<std::int64_t>(columns, [&](std::uint32_t i) {
                const Shorts a = q[i];
                const Ints low = difference[2 * i], high = difference[2 * i + 1];
                std::int64_t part = 0;
                for (int k = 0; k < 4; ++k) {
                    part += std::int64_t{a.value[k]} * low.value[k] +
                            std::int64_t{a.value[4 + k]} * high.value[k];
                }
                return part;
            });
            block.once([&] {
                scratch.gains[t] = std::int64_t{sizes} * scratch.squares[t] + squares - 2 * sum;
            });
        }
    });
    return sizes;
}

// A patch's turn in a sweep: its visit, and the cluster that it is in.
struct Turn {
    std::uint32_t word = kNone;

    [[nodiscard]] static constexpr std::uint32_t of(std::uint32_t visit, std::uint32_t cluster) {
        return visit << 1 | cluster;
    }
    [[nodiscard]] constexpr bool found() const { return word != kNone; }
    [[nodiscard]] constexpr std::uint32_t visit() const { return word >> 1; }
    [[nodiscard]] constexpr std::uint32_t cluster() const { return word & 1; }
};

// A move on its way to the gains.
struct Move {
    const std::int32_t* products = nullptr;  // of the patch that moved, by patch
    std::uint32_t position = kNone;
    std::uint32_t square = 0;  // f_m
    bool left_one = false;     // cluster 1, else cluster 0

    // What it adds to a gain.
    [[nodiscard]] __device__ std::int64_t change(std::uint32_t other_square,
                                                 std::int32_t product) const {
        const std::int64_t distance =
            std::int64_t{square + other_square} - 2 * std::int64_t{product};
        const std::int64_t flip = left_one ? -1 : 0;
        return (2 * distance ^ flip) - flip;  // negated where flip is -1
    }
};

class KSums {
  public:
    __device__ KSums(Block& block, Shared& shared, const Node& node, const Options& options)
        : block_(block),
          shared_(shared),
          node_(node),
          released_(options.rules == Rules::released),
          size_difference_(open_clusters(block, shared, node)) {
        block.for_each_thread([&](int thread) {
            if (thread == 0) shared.mover[0] = kNone;
        });
    }

    // One sweep; the number of its moves.
    __device__ std::uint32_t sweep(VisitingOrder order) {
        number_visits(order);
        std::uint32_t moves = 0, from_visit = 0;
        Move last;
        for (;;) {
            const Turn mover = first_mover(from_visit, last);
            if (!mover.found()) return moves;
            const std::uint32_t t = node_.scratch.visited[mover.visit()];
            last = {product_row(block_, node_, t), t,
                    static_cast<std::uint32_t>(node_.scratch.squares[t]), mover.cluster() == 1};
            size_difference_ -= last.left_one ? 2 : -2;
            from_visit = mover.visit() + 1;
            ++moves;
        }
    }

  private:
    // Positions that a thread looks at in one go: with kBlockThreads, 3072 in a round.
    static constexpr std::uint32_t kAtOnce = 6;

    __device__ void number_visits(VisitingOrder order) {
        block_.for_each_thread([&](int thread) {
            const auto threads = static_cast<std::uint32_t>(block_.threads());
            for (auto v = static_cast<std::uint32_t>(thread); v < node_.size; v += threads) {
                // Below 2^32: a, b and v are below 2^16, and v is at most k - 1.
                const std::uint32_t t = (order.a * v + order.b) % node_.size;
                node_.scratch.visited[v] = static_cast<std::uint16_t>(t);
                node_.scratch.turn[t] = Turn::of(v, node_.scratch.cluster(t));
            }
        });
    }

    // What a round needs to know of a position.
    struct Position {
        std::int64_t gain;
        std::int32_t product;
        std::uint32_t square, turn;
    };

    // Brings the last move to the gains, then looks at all visits from from_visit on. The results
    // of three rounds take turns, so that the next round's can be cleared while a slow thread
    // still reads the last one's.
    __device__ Turn first_mover(std::uint32_t from_visit, const Move& last) {
        std::uint32_t& earliest = shared_.mover[round_];
        round_ = round_ == 2 ? 0 : round_ + 1;
        std::uint32_t& cleared = shared_.mover[round_];
        const auto k = static_cast<std::int32_t>(node_.size);
        const std::int32_t zeros = (k - size_difference_) / 2, ones = k - zeros;
        const std::uint32_t may_leave = (zeros > 1 ? 1U : 0U) | (ones > 1 ? 2U : 0U);  // by cluster
        block_.for_each_thread([&](int thread) {
            std::uint32_t mine = kNone;
            const auto threads = static_cast<std::uint32_t>(block_.threads());
            for (auto first = static_cast<std::uint32_t>(thread); first < node_.size;
                 first += kAtOnce * threads) {
                Position positions[kAtOnce];
                load(positions, first, last);
                const std::uint32_t left = node_.size - first;
#pragma unroll 8
                for (std::uint32_t i = 0; i < kAtOnce && i * threads < left; ++i) {
                    if (last.products != nullptr) bring(positions[i], first, i * threads, last);
                    const std::uint32_t turn = positions[i].turn;
                    const bool to_come = turn >= Turn::of(from_visit, 0);
                    const bool moves = to_come & wants_to_move(positions[i], may_leave);
                    const std::uint32_t mover = moves ? turn : kNone;
                    mine = mover < mine ? mover : mine;
                }
            }
            block_.minimum(earliest, mine);
            if (thread == 0) cleared = kNone;
        });
        return {earliest};
    }

    // Products come from far, so all are asked for before anything waits for one.
    __device__ void load(Position (&positions)[kAtOnce], std::uint32_t first,
                         const Move& last) const {
        const auto threads = static_cast<std::uint32_t>(block_.threads());
        const std::uint32_t left = node_.size - first;
        const std::uint16_t* const patches = node_.scratch.patches + first;
        const std::int64_t* const gains = node_.scratch.gains + first;
        const std::int32_t* const squares = node_.scratch.squares + first;
        const std::uint32_t* const turns = node_.scratch.turn + first;
        std::uint32_t patch[kAtOnce] = {};
#pragma unroll 8
        for (std::uint32_t i = 0; i < kAtOnce; ++i) {
            if (i * threads < left) patch[i] = patches[i * threads];
        }
#pragma unroll 8
        for (std::uint32_t i = 0; i < kAtOnce; ++i) {
            if (last.products != nullptr && i * threads < left) {
                positions[i].product = last.products[patch[i]];
            }
        }
#pragma unroll 8
        for (std::uint32_t i = 0; i < kAtOnce; ++i) {
            if (i * threads >= left) break;
            positions[i].gain = gains[i * threads];
            positions[i].square = static_cast<std::uint32_t>(squares[i * threads]);
            positions[i].turn = turns[i * threads];
        }
    }

    // Of position first + more.
    __device__ void bring(Position& position, std::uint32_t first, std::uint32_t more,
                          const Move& last) const {
        position.gain += last.change(position.square, position.product);
        (node_.scratch.gains + first)[more] = position.gain;
        if (first + more != last.position) return;
        position.turn ^= 1;
        (node_.scratch.turn + first)[more] = position.turn;
    }

    // No branches: the threads of a warp would take both sides of each.
    [[nodiscard]] __device__ bool wants_to_move(const Position& position,
                                                std::uint32_t may_leave) const {
        const std::uint32_t cluster = position.turn & 1;
        const std::int64_t gain = cluster == 1 ? position.gain : -position.gain;
        const std::int64_t least = released_ ? position.square : 0;
        return (gain > least) & ((may_leave >> cluster & 1) != 0);
    }

    Block& block_;
    Shared& shared_;
    const Node& node_;
    bool released_;
    std::int32_t size_difference_;  // N_1 - N_0
    std::uint32_t round_ = 0;
};

struct Effort {
    std::uint64_t moves, rounds;
};

// Sweeps until one makes no move, or options.max_passes.
__device__ inline Effort k_sums(Block& block, Shared& shared, const Node& node,
                                const Options& options) {
    KSums state(block, shared, node, options);
    Effort effort{0, 0};
    for (std::int64_t sweep = 0; sweep < options.max_passes; ++sweep) {
        const auto order = VisitingOrder::of(options.seed, node.scratch.patches[0], node.size,
                                             static_cast<std::uint64_t>(sweep));
        const std::uint32_t moved = state.sweep(order);
        effort.moves += moved;
        effort.rounds += moved + 1;
        if (moved == 0) break;
    }
    return effort;
}

}  // namespace claid::cuda

#include "claid/ksums.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "claid/visiting_order.hpp"

namespace claid {
namespace {

// Widens a bound by more than all the roundings of its float64 steps.
constexpr double kBoundMargin = 1.0 + 1e-9;

constexpr std::int64_t kVisitNow = -1;

// D_1 - D_0. Most dot products with it are only estimated, from its upper halves in int16.
class ClusterDifference {
  public:
    ClusterDifference(const Kernels& simd, const Q15Rows& q15, std::size_t node_size)
        : simd_(simd),
          sum_(q15.stride),
          upper_(q15.stride),
          shift_(static_cast<int>(std::bit_width(node_size - 1))),
          reach_(reach_of(static_cast<double>(q15.dims), shift_)) {
        std::fill_n(sum_.data(), sum_.size(), 0);
    }

    void add(const std::int16_t* row, std::int32_t factor) {
        simd_.add_row(sum_.data(), row, factor, sum_.size());
    }
    // The last addition before estimates.
    void add_last(const std::int16_t* row, std::int32_t factor) {
        simd_.add_row_and_narrow(sum_.data(), row, factor, shift_, upper_.data(), sum_.size());
    }

    // Dot products with kVisitBatch rows, each within reach() of the exact one.
    void estimate(const std::int16_t* const* rows, std::int64_t* out) const {
        std::int32_t dots[kVisitBatch];
        simd_.dot_batch(upper_.data(), rows, upper_.size(), dots);
        for (std::size_t j = 0; j < kVisitBatch; ++j) out[j] = std::int64_t{dots[j]} << shift_;
    }
    [[nodiscard]] std::int64_t reach() const { return reach_; }

    [[nodiscard]] std::int64_t dot(const std::int16_t* row) const {
        return simd_.dot_wide(row, sum_.data(), sum_.size());
    }

  private:
    // What is cut off is at most 2^(shift - 1) in each dimension; by Cauchy-Schwarz.
    static std::int64_t reach_of(double dims, int shift) {
        const double row_norm = kQ15One + 0.5 * std::sqrt(dims);
        const double cut_norm = std::ldexp(std::sqrt(dims), shift - 1);
        return static_cast<std::int64_t>(std::ceil(kBoundMargin * row_norm * cut_norm));
    }

    const Kernels& simd_;
    AlignedArray<std::int32_t> sum_;
    AlignedArray<std::int16_t> upper_;  // sum_ / 2^shift_
    int shift_;                         // 2^shift_ >= the node's size, so that upper_ fits
    std::int64_t reach_;
};

class KSums {
  public:
    KSums(const Node& node, const Q15Rows& q15, const Options& options, const Kernels& simd,
          Clusters& clusters)
        : node_(node),
          q15_(q15),
          released_(options.rules == Rules::released),
          side_(clusters.side),
          difference_(simd, q15, node.size()),
          patient_until_(node.size(), kVisitNow),
          arrivals_per_gain_(node.size()) {
        for (std::size_t t = 0; t < node.size(); ++t) {
            const int sign = side_[t] == 1 ? 1 : -1;
            if (t + 1 < node.size()) {
                difference_.add(row(t), sign);
            } else {
                difference_.add_last(row(t), sign);
            }
            size_difference_ += sign;
            square_difference_ += sign * square(t);
            cluster_size_[side_[t]] += 1;
        }
        bound_distances(clusters.seed_distance);
    }

    // One sweep; the number of its moves.
    std::int64_t sweep(VisitingOrder order) {
        const auto k = static_cast<std::uint32_t>(node_.size());
        std::int64_t moves = 0;
        std::uint32_t at = order.b;
        for (std::uint32_t visited = 0; visited < k;) {
            Batch batch;
            for (; visited < k && batch.count < kVisitBatch; ++visited) {
                batch.position[batch.count] = at;
                batch.visit[batch.count] = visited;
                batch.count += arrivals_[side_[at]] > patient_until_[at] ? 1 : 0;
                at = at >= k - order.a ? at - (k - order.a) : at + order.a;
            }
            if (batch.count == 0) break;
            std::int64_t gain = 0;
            if (const std::size_t moved = first_to_move(batch, gain); moved < batch.count) {
                move(batch.position[moved], gain);
                ++moves;
                visited = batch.visit[moved] + 1;
                at = static_cast<std::uint32_t>((std::uint64_t{order.a} * visited + order.b) % k);
            }
        }
        return moves;
    }

  private:
    // Consecutive visits that may move, all evaluated against the same clusters.
    struct Batch {
        std::size_t count = 0;
        std::uint32_t position[kVisitBatch], visit[kVisitBatch];
    };

    // Evaluates the visits in order up to the first that moves; batch.count when none does.
    std::size_t first_to_move(const Batch& batch, std::int64_t& gain) {
        const std::int16_t* rows[kVisitBatch];
        for (std::size_t j = 0; j < kVisitBatch; ++j) {
            rows[j] = row(batch.position[std::min(j, batch.count - 1)]);
        }
        std::int64_t dots[kVisitBatch];
        difference_.estimate(rows, dots);
        for (std::size_t j = 0; j < batch.count; ++j) {
            const std::uint32_t t = batch.position[j];
            std::int64_t error = 2 * difference_.reach();
            gain = gain_of(t, dots[j]);
            if (std::abs(gain - threshold(t)) <= error) {
                gain = gain_of(t, difference_.dot(rows[j]));
                error = 0;
            }
            if (gain > threshold(t)) {
                if (cluster_size_[side_[t]] == 1) continue;
                gain -= error;
                return j;
            }
            be_patient(t, threshold(t) - gain - error);
        }
        return batch.count;
    }

    // own - other, from q_i . (D_1 - D_0).
    [[nodiscard]] std::int64_t gain_of(std::uint32_t t, std::int64_t dot) const {
        const std::int64_t gain = size_difference_ * square(t) + square_difference_ - 2 * dot;
        return side_[t] == 1 ? gain : -gain;
    }

    // The patch goes to the other cluster, where its gain is the opposite, at most -gain.
    void move(std::uint32_t t, std::int64_t gain) {
        const int from = side_[t], sign = from == 1 ? 1 : -1;
        difference_.add_last(row(t), -2 * sign);
        size_difference_ -= 2 * sign;
        square_difference_ -= 2 * sign * square(t);
        cluster_size_[from] -= 1;
        cluster_size_[1 - from] += 1;
        side_[t] = static_cast<std::uint8_t>(1 - from);
        arrivals_[1 - from] += 1;
        be_patient(t, threshold(t) + gain);
    }

    void be_patient(std::uint32_t t, std::int64_t slack) {
        const double arrivals = static_cast<double>(slack) * arrivals_per_gain_[t];
        patient_until_[t] = arrivals_[side_[t]] + static_cast<std::int64_t>(arrivals);
    }

    // What a move must gain more than.
    [[nodiscard]] std::int64_t threshold(std::uint32_t t) const {
        return released_ ? square(t) : 0;
    }

    // ||q_i - q_m|| is at most the way over the origin, and the way over s+ where that is known.
    void bound_distances(const std::vector<std::int64_t>& seed_distance) {
        std::int64_t longest = 0, farthest = 0;
        for (std::size_t t = 0; t < node_.size(); ++t) longest = std::max(longest, square(t));
        for (const std::int64_t distance : seed_distance) farthest = std::max(farthest, distance);
        const double over_origin = 2.0 * std::sqrt(static_cast<double>(longest));
        const double over_seed = std::sqrt(static_cast<double>(farthest));
        for (std::size_t t = 0; t < node_.size(); ++t) {
            double distance = over_origin;
            if (!seed_distance.empty()) {
                const double to_seed = std::sqrt(static_cast<double>(seed_distance[t]));
                distance = std::min(distance, over_seed + to_seed);
            }
            const double step = std::max(2.0 * distance * distance * kBoundMargin, 1.0);
            arrivals_per_gain_[t] = 1.0 / (step * kBoundMargin);
        }
    }

    [[nodiscard]] const std::int16_t* row(std::size_t t) const {
        return q15_.row(node_.patches[t]);
    }
    [[nodiscard]] std::int64_t square(std::size_t t) const {
        return q15_.squares[node_.patches[t]];
    }

    const Node& node_;
    const Q15Rows& q15_;
    bool released_;
    std::vector<std::uint8_t>& side_;
    ClusterDifference difference_;             // D_1 - D_0
    std::int64_t size_difference_ = 0;         // N_1 - N_0
    std::int64_t square_difference_ = 0;       // F_1 - F_0
    std::int64_t cluster_size_[2] = {0, 0};    // N_0, N_1
    std::int64_t arrivals_[2] = {0, 0};        // moves into each cluster so far
    std::vector<std::int64_t> patient_until_;  // no move before more arrivals in the own cluster
    std::vector<double> arrivals_per_gain_;
};

}  // namespace

std::int64_t k_sums(const Node& node, const Q15Rows& q15, const Options& options,
                    const Kernels& simd, Clusters& clusters) {
    KSums state(node, q15, options, simd, clusters);
    std::int64_t moves = 0;
    for (std::int64_t sweep = 0; sweep < options.max_passes; ++sweep) {
        const auto order = VisitingOrder::of(options.seed, node.patches.front(),
                                             static_cast<std::uint32_t>(node.size()),
                                             static_cast<std::uint64_t>(sweep));
        const std::int64_t moved = state.sweep(order);
        moves += moved;
        if (moved == 0) break;
    }
    return moves;
}

}  // namespace claid

#include "claid/seeds.hpp"

#include <algorithm>

#include "claid/visiting_order.hpp"

namespace claid {
namespace {

// Stands where a sweep's number would, in the key of the random start.
constexpr std::uint64_t kRandomStartKey = std::uint64_t{1} << 32;

template <class Iterator>
std::size_t position(Iterator begin, Iterator at) {
    return static_cast<std::size_t>(at - begin);
}

class SeededStart {
  public:
    SeededStart(const Node& node, const Q15Rows& q15, const BitGraph& graph, const Kernels& simd)
        : node_(node), q15_(q15), graph_(graph), simd_(simd) {
        find_seeds();
    }

    // Cluster 1 holds what is closer to s+ than to s-.
    void by_similarity(Clusters& out) const {
        const std::size_t size = node_.size();
        const std::int64_t f_positive = q15_.squares[node_.patches[positive_]];
        out.seed_distance.resize(size);
        for (std::size_t first = 0; first < size; first += kVisitBatch) {
            const std::int16_t* rows[kVisitBatch];
            for (std::size_t j = 0; j < kVisitBatch; ++j) {
                rows[j] = row(std::min(first + j, size - 1));
            }
            std::int32_t to_positive[kVisitBatch], to_negative[kVisitBatch];
            simd_.dot_batch(row(positive_), rows, q15_.stride, to_positive);
            simd_.dot_batch(row(negative_), rows, q15_.stride, to_negative);
            for (std::size_t t = first; t < std::min(first + kVisitBatch, size); ++t) {
                const std::int64_t similarity = to_positive[t - first];
                out.side[t] = similarity > to_negative[t - first] ? 1 : 0;
                out.seed_distance[t] = q15_.squares[node_.patches[t]] + f_positive - 2 * similarity;
            }
        }
        own_clusters(out);
    }

    // The released program's start: cluster 1 holds what is linked to s+ and not to s-.
    void by_links(Clusters& out) const {
        const std::size_t positive = node_.patches[positive_], negative = node_.patches[negative_];
        for (std::size_t t = 0; t < node_.size(); ++t) {
            const std::size_t p = node_.patches[t];
            out.side[t] = graph_.linked(p, positive) && !graph_.linked(p, negative) ? 1 : 0;
        }
        own_clusters(out);
    }

  private:
    // Eq. 6 and 7. Ties go to the lowest patch; where all degrees are equal, s- is the patch
    // least similar to s+.
    void find_seeds() {
        const auto begin = node_.degrees.begin(), end = node_.degrees.end();
        positive_ = position(begin, std::max_element(begin, end));
        negative_ = position(begin, std::min_element(begin, end));
        if (positive_ != negative_) return;
        std::int32_t least = 0;
        for (std::size_t t = 0; t < node_.size(); ++t) {
            if (t == positive_) continue;
            const std::int32_t similarity = dot(t, positive_);
            if (negative_ == positive_ || similarity < least) {
                least = similarity;
                negative_ = t;
            }
        }
    }

    void own_clusters(Clusters& out) const {
        out.side[positive_] = 1;
        out.side[negative_] = 0;
    }

    [[nodiscard]] std::int32_t dot(std::size_t t, std::size_t u) const {
        return simd_.dot(row(t), row(u), q15_.stride);
    }
    [[nodiscard]] const std::int16_t* row(std::size_t t) const {
        return q15_.row(node_.patches[t]);
    }

    const Node& node_;
    const Q15Rows& q15_;
    const BitGraph& graph_;
    const Kernels& simd_;
    std::size_t positive_ = 0, negative_ = 0;  // positions of s+ and s-
};

void start_at_random(const Node& node, std::uint64_t seed, Clusters& out) {
    const std::uint64_t key = key_of(seed, {node.patches.front(), node.size(), kRandomStartKey});
    for (std::size_t t = 0; t < node.size(); ++t) {
        out.side[t] = static_cast<std::uint8_t>(mix(key ^ node.patches[t]) & 1);
    }
    const auto ones = std::count(out.side.begin(), out.side.end(), 1);
    if (ones == 0) out.side.front() = 1;
    if (ones == static_cast<std::ptrdiff_t>(node.size())) out.side.front() = 0;
}

}  // namespace

void start(const Node& node, const Q15Rows& q15, const BitGraph& graph, const Options& options,
           const Kernels& simd, Clusters& out) {
    out.side.resize(node.size());
    out.seed_distance.clear();
    if (options.start == Start::random) {
        start_at_random(node, options.seed, out);
        return;
    }
    const SeededStart seeded(node, q15, graph, simd);
    if (options.rules == Rules::released) {
        seeded.by_links(out);
    } else {
        seeded.by_similarity(out);
    }
}

}  // namespace claid

#include "claid/tree.hpp"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>

#include "claid/affinity.hpp"
#include "claid/components.hpp"
#include "claid/ksums.hpp"
#include "claid/parallel.hpp"
#include "claid/q15.hpp"
#include "claid/seeds.hpp"

namespace claid {
namespace {

class Decomposition {
  public:
    Decomposition(const Features& features, const Options& options, const Kernels& simd,
                  const Q15Rows& q15, const BitGraph& graph)
        : grid_(features.grid),
          options_(options),
          simd_(simd),
          q15_(q15),
          graph_(graph),
          high_energy_(high_energy_patches(q15.energy, options.energy_top)),
          membership_(graph.words, 0),
          components_(features.grid) {}

    // First in, first out: regions are numbered as they are found, level by level.
    RegionTree run() && {
        bisect_root();
        for (std::size_t r = 0; r < tree_.regions.size(); ++r) {
            if (tree_.regions[r].connectivity < options_.connectivity) bisect_region(r);
        }
        return std::move(tree_);
    }

  private:
    void bisect_root() {
        std::vector<std::uint16_t> all(q15_.patches);
        std::iota(all.begin(), all.end(), std::uint16_t{0});
        if (all.size() < 2) return;
        std::vector<std::uint32_t> inside(all.size());
        degrees(graph_, simd_, all, Membership(membership_, all), inside.data());
        bisect({all, inside}, kRoot, 1);
    }

    void bisect_region(std::size_t r) {
        const auto first = tree_.members.begin() + tree_.offsets[r];
        const auto last = tree_.members.begin() + tree_.offsets[r + 1];
        const std::vector<std::uint16_t> patches(first, last);
        const std::vector<std::uint32_t> inside(degrees_.begin() + tree_.offsets[r],
                                                degrees_.begin() + tree_.offsets[r + 1]);
        bisect({patches, inside}, static_cast<std::int32_t>(r), tree_.regions[r].level + 1);
    }

    void bisect(const Node& node, std::int32_t parent, std::int32_t level) {
        start(node, q15_, graph_, options_, simd_, clusters_);
        tree_.moves += k_sums(node, q15_, options_, simd_, clusters_);
        tree_.cuts += 1;
        for (const auto patches :
             components_.find(node.patches, clusters_.side, options_.min_patches)) {
            add_region(patches, parent, level);
        }
    }

    void add_region(std::span<const std::uint16_t> patches, std::int32_t parent,
                    std::int32_t level) {
        const Membership membership(membership_, patches);
        tree_.members.insert(tree_.members.end(), patches.begin(), patches.end());
        degrees_.resize(tree_.members.size());
        std::uint32_t* inside = degrees_.data() + tree_.offsets.back();
        degrees(graph_, simd_, patches, membership, inside);
        tree_.offsets.push_back(static_cast<std::int64_t>(tree_.members.size()));

        Region region;
        region.parent = parent;
        region.level = level;
        region.size = static_cast<std::int32_t>(patches.size());
        region.connectivity = connectivity({inside, patches.size()});
        region.dominance = static_cast<double>(membership.count_in(high_energy_)) /
                           static_cast<double>(patches.size());
        region.dummy = region.dominance <= options_.dominance;
        set_box(patches, region.box);
        tree_.regions.push_back(region);
    }

    // Eq. 8 and 9: the share of pairs that are linked, 2 E / (k (k - 1)).
    [[nodiscard]] double connectivity(std::span<const std::uint32_t> inside) const {
        const auto k = static_cast<std::int64_t>(inside.size());
        std::int64_t ends = std::accumulate(inside.begin(), inside.end(), std::int64_t{0});
        if (options_.rules == Rules::released) ends += k;  // counts the diagonal
        return static_cast<double>(ends) / static_cast<double>(k * (k - 1));
    }

    void set_box(std::span<const std::uint16_t> patches, std::int32_t (&box)[4]) const {
        std::int32_t left = grid_.width, right = 0;
        for (const std::int32_t p : patches) {
            const std::int32_t x = p % grid_.width;
            left = std::min(left, x);
            right = std::max(right, x);
        }
        box[0] = left;
        box[1] = patches.front() / grid_.width;
        box[2] = right + 1;
        box[3] = patches.back() / grid_.width + 1;
    }

    Grid grid_;
    const Options& options_;
    const Kernels& simd_;
    const Q15Rows& q15_;
    const BitGraph& graph_;
    std::vector<std::uint64_t> high_energy_;  // H, section III-D
    std::vector<std::uint64_t> membership_;   // empty between uses
    std::vector<std::uint32_t> degrees_;      // Eq. 6, beside tree_.members
    ComponentFinder components_;
    Clusters clusters_;
    RegionTree tree_;
};

// Multiply-adds of the affinity below which another thread costs more than it saves: about half
// a millisecond of one.
constexpr std::size_t kWorkOfThread = std::size_t{1} << 27;

std::size_t useful_threads(const Features& features, std::size_t threads) {
    const std::size_t patches = features.grid.patches();
    const std::size_t work = patches * patches / 2 * features.dims;
    return std::clamp<std::size_t>(work / kWorkOfThread, 1, threads);
}

}  // namespace

RegionTree decompose(const Features& features, const Options& options, const Kernels& simd,
                     std::size_t threads) {
    threads = useful_threads(features, threads);
    const Q15Rows q15 = quantise(features, simd, threads);
    const BitGraph graph = affinity(q15, options.tau, simd, threads);
    return Decomposition(features, options, simd, q15, graph).run();
}

std::vector<RegionTree> decompose(std::span<const Features> batch, const Options& options,
                                  const Kernels& simd, std::size_t threads) {
    std::vector<RegionTree> trees(batch.size());
    const std::size_t images_at_once = std::clamp<std::size_t>(batch.size(), 1, threads);
    parallel_for(batch.size(), images_at_once, [&](std::size_t image) {
        try {
            trees[image] = decompose(batch[image], options, simd, threads / images_at_once);
        } catch (const NotFiniteError& error) {
            throw NotFiniteError(image, error.row, error.column, error.value);
        }
    });
    return trees;
}

}  // namespace claid

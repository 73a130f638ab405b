#include "cuda/numbering.hpp"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace claid::cuda {
namespace {

// The records of every parent side by side, in order; those of roots come last.
std::vector<std::uint32_t> in_order(std::span<const Record> records) {
    std::vector<std::uint32_t> order(records.size());
    std::iota(order.begin(), order.end(), 0U);
    const auto rank = [&](std::uint32_t r) {
        const Record& record = records[r];
        return std::tuple(record.parent, 1 - record.cluster, record.lowest_patch);
    };
    std::ranges::sort(order, {}, rank);
    return order;
}

class Numbering {
  public:
    Numbering(std::span<const Record> records, std::span<const std::uint16_t> members,
              double dominance)
        : records_(records),
          members_(members),
          dominance_(dominance),
          order_(in_order(records)),
          first_child_(records.size() + 1, 0) {
        for (const Record& record : records) {
            if (record.parent != kNoRecord) ++first_child_[record.parent + 1];
        }
        std::partial_sum(first_child_.begin(), first_child_.end(), first_child_.begin());
    }

    [[nodiscard]] RegionTree tree_of(std::uint32_t root, const Totals& totals) const {
        RegionTree tree;
        tree.cuts = static_cast<std::int64_t>(totals.cuts);
        tree.moves = static_cast<std::int64_t>(totals.moves);
        std::vector<std::uint32_t> found;  // record of each region
        add_children(root, kRoot, 1, tree, found);
        for (std::size_t r = 0; r < found.size(); ++r) {
            add_children(found[r], static_cast<std::int32_t>(r), tree.regions[r].level + 1, tree,
                         found);
        }
        return tree;
    }

  private:
    void add_children(std::uint32_t record, std::int32_t parent, std::int32_t level,
                      RegionTree& tree, std::vector<std::uint32_t>& found) const {
        for (std::uint32_t c = first_child_[record]; c < first_child_[record + 1]; ++c) {
            const Record& child = records_[order_[c]];
            Region region;
            region.parent = parent;
            region.level = level;
            region.size = static_cast<std::int32_t>(child.size);
            region.connectivity = child.connectivity;
            region.dominance = child.dominance;
            region.dummy = child.dominance <= dominance_;
            std::ranges::copy(child.box, region.box);
            tree.regions.push_back(region);
            const auto members = members_.subspan(child.first_member, child.size);
            tree.members.insert(tree.members.end(), members.begin(), members.end());
            tree.offsets.push_back(static_cast<std::int64_t>(tree.members.size()));
            found.push_back(order_[c]);
        }
    }

    std::span<const Record> records_;
    std::span<const std::uint16_t> members_;
    double dominance_;
    std::vector<std::uint32_t> order_;
    std::vector<std::uint32_t> first_child_;  // in order_, of each record
};

}  // namespace

std::vector<RegionTree> number_regions(std::span<const Record> records,
                                       std::span<const std::uint16_t> members,
                                       std::span<const Totals> totals, double dominance) {
    const Numbering numbering(records, members, dominance);
    std::vector<RegionTree> trees(totals.size());
    for (std::uint32_t r = 0; r < records.size(); ++r) {
        if (records[r].parent != kNoRecord) continue;
        const std::uint32_t image = records[r].image;
        trees[image] = numbering.tree_of(r, totals[image]);
    }
    return trees;
}

}  // namespace claid::cuda

#include "claid/components.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

namespace claid {
namespace {

constexpr std::uint32_t kNowhere = std::numeric_limits<std::uint32_t>::max();

}  // namespace

ComponentFinder::ComponentFinder(Grid grid) : grid_(grid), cell_(grid.patches()) {
    const auto width = static_cast<std::size_t>(grid.width), line = width + 2;
    for (std::size_t p = 0; p < cell_.size(); p += width) {
        const std::size_t first = (p / width + 1) * line + 1;
        std::iota(&cell_[p], &cell_[p] + width, static_cast<std::uint32_t>(first));
    }
    position_.assign((static_cast<std::size_t>(grid.height) + 2) * line, kNowhere);
}

std::uint32_t ComponentFinder::root(std::uint32_t t) {
    while (parent_[t] != t) t = parent_[t] = parent_[parent_[t]];
    return t;
}

void ComponentFinder::join(std::uint32_t t, std::uint32_t neighbour) {
    const std::uint32_t a = root(t), b = root(neighbour);
    parent_[std::max(a, b)] = std::min(a, b);
}

// Patches come in raster order: west, north-west, north and north-east were there before. Where
// north is of the same cluster, it is joined with the other three already; west is with north-west.
void ComponentFinder::link_neighbours(std::span<const std::uint16_t> patches,
                                      const std::vector<std::uint8_t>& side) {
    const std::size_t line = static_cast<std::size_t>(grid_.width) + 2;
    for (std::uint32_t t = 0; t < patches.size(); ++t) {
        std::uint32_t* const here = &position_[cell_[patches[t]]];
        *here = t;
        const auto joined_with = [&](const std::uint32_t* neighbour) {
            const bool same = *neighbour != kNowhere && side[*neighbour] == side[t];
            if (same) join(t, *neighbour);
            return same;
        };
        const std::uint32_t* const north = here - line;
        if (joined_with(north)) continue;
        if (!joined_with(here - 1)) joined_with(north - 1);
        joined_with(north + 1);
    }
}

const std::vector<std::span<const std::uint16_t>>& ComponentFinder::find(
    std::span<const std::uint16_t> patches, const std::vector<std::uint8_t>& side,
    std::int64_t min_patches) {
    const auto count = static_cast<std::uint32_t>(patches.size());
    parent_.resize(count);
    std::iota(parent_.begin(), parent_.end(), 0U);
    link_neighbours(patches, side);

    size_.assign(count, 0);
    for (std::uint32_t t = 0; t < count; ++t) size_[root(t)] += 1;

    // A root is the lowest position of its component, so roots come by lowest patch.
    members_.resize(count);
    next_.resize(count);
    components_.clear();
    std::uint32_t filled = 0;
    for (const std::uint8_t cluster : {std::uint8_t{1}, std::uint8_t{0}}) {
        for (std::uint32_t t = 0; t < count; ++t) {
            if (parent_[t] != t || side[t] != cluster || size_[t] < min_patches) continue;
            components_.emplace_back(members_.data() + filled, size_[t]);
            next_[t] = filled;
            filled += size_[t];
        }
    }
    for (std::uint32_t t = 0; t < count; ++t) {
        const std::uint32_t r = root(t);
        if (size_[r] >= min_patches) members_[next_[r]++] = patches[t];
        position_[cell_[patches[t]]] = kNowhere;
    }
    return components_;
}

}  // namespace claid

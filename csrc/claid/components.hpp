// The 8-connected components of the two clusters on the grid (Algorithm 1, connected regions).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "claid/types.hpp"

namespace claid {

class ComponentFinder {
  public:
    explicit ComponentFinder(Grid grid);

    // The components of at least min_patches patches: those of cluster 1, then those of cluster
    // 0, each by lowest patch; the patches of one ascending. Valid until the next call.
    const std::vector<std::span<const std::uint16_t>>& find(std::span<const std::uint16_t> patches,
                                                            const std::vector<std::uint8_t>& side,
                                                            std::int64_t min_patches);

  private:
    void join(std::uint32_t t, std::uint32_t neighbour);
    [[nodiscard]] std::uint32_t root(std::uint32_t t);
    void link_neighbours(std::span<const std::uint16_t> patches,
                         const std::vector<std::uint8_t>& side);

    Grid grid_;
    std::vector<std::uint32_t> cell_;      // of each patch, in the grid with a border around it
    std::vector<std::uint32_t> position_;  // in the node, of the patch of each cell; or kNowhere
    std::vector<std::uint32_t> parent_;    // union-find over positions; a root is its lowest
    std::vector<std::uint32_t> size_, next_;
    std::vector<std::uint16_t> members_;
    std::vector<std::span<const std::uint16_t>> components_;
};

}  // namespace claid

// From records in the order in which blocks happened to find them to trees in the contract's order.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cuda/image.hpp"

namespace claid::cuda {

// One tree an image; totals has one entry an image. First in, first out: regions are numbered
// level by level, the parts of one by cluster, 1 before 0, then by lowest patch.
std::vector<RegionTree> number_regions(std::span<const Record> records,
                                       std::span<const std::uint16_t> members,
                                       std::span<const Totals> totals, double dominance);

}  // namespace claid::cuda

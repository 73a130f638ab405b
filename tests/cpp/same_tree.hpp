// Whether two trees are the same, field by field and bit by bit.
#pragma once

#include <algorithm>
#include <cstring>

#include "claid/types.hpp"

namespace claid::test {

inline bool same_bits(double a, double b) { return std::memcmp(&a, &b, sizeof a) == 0; }

inline bool same(const Region& a, const Region& b) {
    return a.parent == b.parent && a.level == b.level && a.size == b.size &&
           same_bits(a.connectivity, b.connectivity) && same_bits(a.dominance, b.dominance) &&
           a.dummy == b.dummy && std::equal(std::begin(a.box), std::end(a.box), b.box);
}

inline bool same(const RegionTree& a, const RegionTree& b) {
    return a.cuts == b.cuts && a.moves == b.moves && a.offsets == b.offsets &&
           a.members == b.members &&
           std::equal(a.regions.begin(), a.regions.end(), b.regions.begin(), b.regions.end(),
                      [](const Region& x, const Region& y) { return same(x, y); });
}

}  // namespace claid::test

// Stage 2 of a search: where in a photo is the thing that the query shows? Boxes of a coarse grid
// are scored on the photo's map, then boxes around the best of them; the answer is a mean of boxes.
//
// For a box b, with sums of cells over parts of it (real-valued borders):
//   p(t, b) = 1/9 sum over the 3 x 3 parts c of cos(t_c, sum of the e16 cells of part c)
//   w(u, b) = cos(u, sum of the e32 cells of b)
//   core(b) = 1/2 (p_native + p_S) + 1/4 (w_native + w_S), S nearest to the size of b
//   m(x)    = max over g in G of <g, x>;  a = b's share of the map
//   o(b)    = (mean of m inside b - mean of m outside) sqrt(a (1 - a))
//   s(b)    = core(b) + 1/4 o(b) / max o + 1/10 max over stored regions r of IoU(b, r)
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "claid/box_types.hpp"
#include "claid/simd/dispatch.hpp"

namespace claid {

// One box per photo. Photos share `threads` threads; the answers do not depend on how many, nor on
// the other photos. `keep_boxes`: with every box scored.
std::vector<FoundBox> box_search(std::span<const PhotoMaps> photos, const BoxQuery& query,
                                 const BoxSearchOptions& options, const SimdLevel& level,
                                 std::size_t threads, bool keep_boxes);

}  // namespace claid

// How much device memory a batch takes and where everything lies in it. Plain arithmetic.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "cuda/image.hpp"

namespace claid::cuda {

// Of every array in device memory, as cudaMalloc's.
inline constexpr std::size_t kAlignment = 256;

// Places in the workspace, in bytes.
struct ImagePlan {
    std::uint32_t padded, stride;
    bool products_kept;
    bool copied;  // the features come from the host
    std::size_t features, rows, squares, energy, high, links, products;
};

// Images that are worked on together; the next group uses the same workspace again.
struct GroupPlan {
    std::uint32_t first, count;
    std::uint32_t most_padded;
    std::size_t scratch_bytes;  // of a block of the tree kernel
};

struct BatchPlan {
    std::vector<ImagePlan> images;
    std::vector<GroupPlan> groups;
    std::size_t workspace_bytes = 0;
};

// Groups as large as fit the budget. An image that is alone over it does without the products of
// its rows (4 N^2 bytes), and is a group of its own.
BatchPlan plan(std::span<const FeatureView> batch, std::size_t budget);

// Room for regions: how many records and members fit.
struct Capacity {
    std::uint32_t records;
    std::uint64_t members;
};

// A few times what trees of natural images take, times `growth`.
Capacity capacity(std::span<const FeatureView> batch, std::uint64_t growth);

// Places in the memory of the tree, in bytes: a Work's arrays behind each other.
struct TreeLayout {
    std::size_t images, counters, totals, records, ready, members, end;
};
TreeLayout tree_layout(std::size_t images, const Capacity& capacity);

// The image as the kernels see it, in a workspace at `base`.
Image view(const FeatureView& features, const ImagePlan& plan, std::byte* base, double energy_top);

}  // namespace claid::cuda

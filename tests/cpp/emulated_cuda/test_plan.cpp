// What needs no device: where the arrays of a batch lie, and the numbers of the affinity's tiles.
#include <cstdint>
#include <vector>

#include "check.hpp"
#include "cuda/affinity.cuh"
#include "cuda/plan.hpp"

namespace claid::test {
namespace {

void test_tiles() {
    std::uint32_t number = 0;
    bool equal = true;
    for (std::uint32_t column = 0; column < 512; ++column) {
        for (std::uint32_t row = 0; row <= column; ++row) {
            const cuda::TilePlace place = cuda::tile_place(number++);
            equal = equal && place.row == row && place.column == column;
        }
    }
    CHECK(equal);
    CHECK(cuda::tile_count(512) == number);
    CHECK(cuda::patches_in_word(0, 31) == 0x7FFFFFFF);
    CHECK(cuda::patches_in_word(32, 64) == 0xFFFFFFFF);
    CHECK(cuda::patches_in_word(64, 64) == 0);
}

cuda::FeatureView feature_view(std::int32_t height, std::int32_t width, std::size_t dims) {
    cuda::FeatureView view;
    view.grid = {height, width};
    view.dims = dims;
    view.row_stride = static_cast<std::int64_t>(dims);
    return view;
}

void test_plan() {
    const std::vector<cuda::FeatureView> batch(64, feature_view(45, 60, 768));
    const cuda::BatchPlan roomy = cuda::plan(batch, std::size_t{8} << 30);
    CHECK(roomy.groups.size() == 1);
    CHECK(roomy.images.size() == 64);
    CHECK(roomy.images.back().products_kept);
    CHECK(roomy.workspace_bytes < std::size_t{8} << 30);
    const cuda::BatchPlan tight = cuda::plan(batch, std::size_t{100} << 20);
    CHECK(tight.workspace_bytes <= std::size_t{100} << 20);
    std::uint32_t next = 0;
    for (const cuda::GroupPlan& group : tight.groups) {
        CHECK(group.first == next);
        CHECK(group.count >= 1);
        next += group.count;
    }
    CHECK(next == 64);
    const cuda::BatchPlan least = cuda::plan(batch, 0);
    CHECK(least.groups.size() == 64);
    CHECK(!least.images.front().products_kept);
    CHECK(least.workspace_bytes < tight.workspace_bytes);
    // Nothing of an image overlaps: its arrays follow each other.
    for (const cuda::ImagePlan& image : tight.images) {
        const std::size_t padded = image.padded;
        CHECK(padded == 2816);
        CHECK(image.squares - image.rows >= padded * image.stride * sizeof(std::int16_t));
        CHECK(image.energy - image.squares >= padded * sizeof(std::int32_t));
        CHECK(image.high - image.energy >= padded * sizeof(float));
        CHECK(image.links - image.high >= padded / 8);
        CHECK(image.products - image.links >= padded * padded / 8);
    }
    const cuda::Image image = cuda::view(batch[0], roomy.images[0], nullptr, 0.3);
    CHECK(image.high_count == 810);
    CHECK(cuda::capacity(batch, 4).members == 4 * cuda::capacity(batch, 1).members);
}

}  // namespace
}  // namespace claid::test

int main() {
    using namespace claid::test;
    test_tiles();
    test_plan();
    return summary();
}

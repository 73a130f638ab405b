// The CUDA backend on a GPU against the CPU, without Python: what compute-sanitizer is run on.
//   claid_cuda_device_test [small | image | full]
// small: many small images, as without an argument; image: only one of 45 x 60 patches of D = 768;
// full: small, two such images and a grid too large for shared memory. Exits with 77 where there is
// no GPU.
#include <cmath>
#include <cstdio>
#include <cstring>

#include "check.hpp"
#include "claid/simd/dispatch.hpp"
#include "claid/tree.hpp"
#include "cuda/decompose.hpp"
#include "random_features.hpp"
#include "same_tree.hpp"

namespace claid::test {
namespace {

void compare(const std::vector<Picture>& pictures, const Options& options) {
    std::vector<Features> features;
    std::vector<cuda::FeatureView> views;
    for (const Picture& made : pictures) {
        features.push_back(made.features());
        cuda::FeatureView view;
        view.values = made.values.data();
        view.on_host = 1;
        view.dims = made.dims;
        view.grid = made.grid;
        views.push_back(view);
    }
    const auto wanted = decompose(features, options, kernels(), 1);
    const auto found = cuda::decompose(views, options, {});
    CHECK(wanted.size() == found.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) CHECK(same(wanted[i], found[i]));
}

void test_small() {
    constexpr Grid kGrids[] = {{1, 1}, {1, 2}, {3, 40}, {12, 11}, {20, 23}};
    constexpr std::size_t kDims[] = {1, 33, 64};
    std::uint32_t seed = 0;
    for (const bool random_start : {false, true}) {
        std::vector<Picture> pictures;
        for (const Kind kind :
             {Kind::blobs, Kind::noise, Kind::ties, Kind::constant, Kind::zeros}) {
            for (const Grid grid : kGrids) {
                ++seed;
                pictures.push_back(picture(kind, grid, kDims[seed % 3], seed));
            }
        }
        Options options;
        options.min_patches = 2;
        options.start = random_start ? Start::random : Start::seeds;
        options.rules = random_start ? Rules::released : Rules::paper;
        compare(pictures, options);
    }
}

// A grid whose scratch fits no shared memory, and a failed call that harms no later one.
void test_large_and_not_finite() {
    Picture large = picture(Kind::blobs, {130, 140}, 8, 1);
    compare({large}, {});
    large.values[8 * 1000 + 5] = INFINITY;
    cuda::FeatureView view;
    view.values = large.values.data();
    view.on_host = 1;
    view.dims = large.dims;
    view.grid = large.grid;
    bool thrown = false;
    try {
        cuda::decompose({&view, 1}, {}, {});
    } catch (const NotFiniteError& error) {
        thrown = error.image == 0 && error.row == 1000 && error.column == 5;
    }
    CHECK(thrown);
    test_small();
}

}  // namespace
}  // namespace claid::test

int main(int argc, char** argv) {
    using namespace claid::test;
    const claid::cuda::Availability found = claid::cuda::availability();
    std::printf("%s\n", found.reason.c_str());
    if (!found.available) return 77;
    const char* const what = argc > 1 ? argv[1] : "small";
    if (std::strcmp(what, "image") == 0) {
        compare({picture(Kind::blobs, {45, 60}, 768, 1)}, {});
        return summary();
    }
    test_small();
    if (std::strcmp(what, "full") == 0) {
        compare({picture(Kind::blobs, {45, 60}, 768, 1), picture(Kind::noise, {45, 60}, 768, 2)},
                {});
        test_large_and_not_finite();
    }
    return summary();
}

// The CUDA backend's tree, grown on the host by the algorithms that its kernels run, against the
// CPU's, field by field and bit by bit.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "check.hpp"
#include "claid/tree.hpp"
#include "host_cuda.hpp"
#include "random_features.hpp"
#include "same_tree.hpp"

namespace claid::test {
namespace {

RegionTree on_cpu(const Picture& picture, const Options& options) {
    return decompose(picture.features(), options, *scalar_kernels(), 1);
}

RegionTree on_host_block(const Picture& picture, const Options& options, bool keep_products,
                         const HostRun& run) {
    const HostImage image(picture.features(), options, keep_products);
    HostResult result = grow_trees({&image.view(), 1}, options, run);
    CHECK(!result.overflow);
    return result.overflow ? RegionTree{} : std::move(result.trees.front());
}

constexpr Grid kGrids[] = {{1, 1}, {1, 2}, {2, 1}, {1, 40}, {40, 1}, {5, 7}, {12, 11}, {20, 23}};
constexpr std::size_t kDims[] = {1, 3, 16, 33, 64};
constexpr Kind kKinds[] = {Kind::blobs, Kind::noise, Kind::ties, Kind::constant, Kind::zeros};

Options options_of(std::uint32_t variant) {
    Options options;
    options.min_patches = variant % 3 == 0 ? 15 : 2 + variant % 5;
    options.seed = variant * 0x9E3779B97F4A7C15;
    options.start = variant % 4 == 3 ? Start::random : Start::seeds;
    options.rules = variant % 5 == 4 ? Rules::released : Rules::paper;
    options.tau = variant % 7 == 6 ? -0.1 : 0.2;
    options.max_passes = variant % 11 == 10 ? 1 : 500;
    return options;
}

std::int64_t test_every_kind() {
    std::uint32_t variant = 0;
    std::int64_t moves = 0;
    for (const Kind kind : kKinds) {
        for (const Grid grid : kGrids) {
            for (const std::size_t dims : kDims) {
                const Options options = options_of(++variant);
                const Picture made = picture(kind, grid, dims, variant);
                const RegionTree wanted = on_cpu(made, options);
                moves += wanted.moves;
                const ThreadOrder order = static_cast<ThreadOrder>(variant % 3);
                const HostRun run{8 << variant % 4, order};
                CHECK(same(wanted, on_host_block(made, options, variant % 2 == 0, run)));
            }
        }
    }
    return moves;
}

// Every order of threads, every number of them, products kept and not.
void test_thread_orders() {
    const Picture made = picture(Kind::blobs, {24, 31}, 48, 5);
    Options options;
    options.min_patches = 4;
    const RegionTree wanted = on_cpu(made, options);
    CHECK(wanted.regions.size() > 20);
    CHECK(wanted.moves > 100);
    for (const int threads : {8, 32, 96, 512}) {
        for (const auto order :
             {ThreadOrder::ascending, ThreadOrder::descending, ThreadOrder::shuffled}) {
            for (const bool keep_products : {false, true}) {
                CHECK(same(wanted, on_host_block(made, options, keep_products, {threads, order})));
            }
        }
    }
}

// Several blocks share the queue; images of different sizes share the batch.
void test_batch_on_several_blocks() {
    std::vector<Picture> pictures;
    for (std::uint32_t i = 0; i < 9; ++i) {
        const auto height = static_cast<std::int32_t>(1 + i * 3);
        pictures.push_back(picture(kKinds[i % 5], {height, 17}, 8 + 5 * i, i));
    }
    Options options;
    options.min_patches = 3;
    std::vector<HostImage> images;
    images.reserve(pictures.size());
    std::vector<cuda::Image> views;
    for (const Picture& made : pictures) {
        images.emplace_back(made.features(), options, views.size() % 2 == 0);
        views.push_back(images.back().view());
    }
    for (std::uint32_t repeat = 0; repeat < 10; ++repeat) {
        HostRun run{32, ThreadOrder::shuffled};
        run.blocks = 1 + repeat % 4;
        const HostResult result = grow_trees(views, options, run);
        CHECK(!result.overflow);
        for (std::size_t i = 0; i < result.trees.size(); ++i) {
            CHECK(same(on_cpu(pictures[i], options), result.trees[i]));
        }
    }
}

// Too little room ends the work, says so, and harms nothing.
void test_overflow() {
    const Picture made = picture(Kind::blobs, {24, 31}, 48, 5);
    Options options;
    options.min_patches = 4;
    const RegionTree wanted = on_cpu(made, options);
    const HostImage image(made.features(), options, true);
    const auto run_with = [&](std::uint64_t records, std::uint64_t members) {
        HostRun run{64, ThreadOrder::shuffled, 3};
        run.record_capacity = static_cast<std::uint32_t>(records);
        run.member_capacity = members;
        return grow_trees({&image.view(), 1}, options, run);
    };
    const std::uint64_t records = wanted.regions.size() + 1, members = wanted.members.size();
    CHECK(run_with(1, members).overflow);
    CHECK(run_with(records - 1, members).overflow);
    CHECK(run_with(records, members - 1).overflow);
    const HostResult enough = run_with(records, members);
    CHECK(!enough.overflow);
    CHECK(!enough.overflow && same(wanted, enough.trees.front()));
}

// Two blocks, held so that one numbers its records first and finds no room for their members after
// the other, whose records have the larger numbers, has published them. The numbers of the first
// are never published.
class HeldBlock : public HostBlock {
  public:
    enum Step { begun, first_has_numbers, second_has_published };

    HeldBlock(bool is_first, cuda::Counters& counters, std::atomic<int>& step)
        : HostBlock(32, ThreadOrder::ascending),
          is_first_(is_first),
          counters_(counters),
          step_(step) {}

    template <class T>
    T add(T& target, T value) {
        const void* const at = &target;
        if (is_first_ && at == &counters_.members) wait_for(second_has_published);
        if (!is_first_ && at == &counters_.records) wait_for(first_has_numbers);
        const T before = HostBlock::add(target, value);
        if (is_first_ && at == &counters_.records) step_.store(first_has_numbers);
        const bool counts_off = at == &counters_.pending && value == static_cast<T>(-1);
        if (!is_first_ && counts_off) step_.store(second_has_published);
        return before;
    }
    void pause() {
        HostBlock::pause();
        if (std::chrono::steady_clock::now() < end_) return;
        std::fprintf(stderr, "the blocks wait for each other for ever\n");
        std::_Exit(1);
    }

  private:
    void wait_for(Step step) {
        while (step_.load() < step) pause();
    }

    bool is_first_;
    cuda::Counters& counters_;
    std::atomic<int>& step_;
    std::chrono::steady_clock::time_point end_ =
        std::chrono::steady_clock::now() + std::chrono::seconds(20);
};

void test_numbers_never_published() {
    const Picture made = picture(Kind::blobs, {24, 31}, 48, 5);
    Options options;
    options.min_patches = 4;
    const RegionTree wanted = on_cpu(made, options);
    const auto below_root = std::ranges::count(wanted.regions, 1, &Region::level);
    CHECK(below_root >= 2);
    const HostImage image(made.features(), options, true);
    const cuda::Image images[] = {image.view(), image.view()};
    HostRun run{32};
    run.blocks = 2;
    run.member_capacity =
        static_cast<std::uint64_t>(wanted.offsets[static_cast<std::size_t>(below_root)]);
    std::atomic<int> step = HeldBlock::begun;
    const HostResult result = grow_trees(
        images, options, run,
        [&](std::size_t b, cuda::Counters& counters) { return HeldBlock(b == 0, counters, step); });
    CHECK(result.overflow);
    CHECK(step.load() == HeldBlock::second_has_published);
}

}  // namespace
}  // namespace claid::test

int main() {
    using namespace claid::test;
    CHECK(test_every_kind() > 1000);
    test_thread_orders();
    test_batch_on_several_blocks();
    test_overflow();
    test_numbers_never_published();
    return summary();
}

#include "test_queue.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "check.hpp"
#include "claid/affinity.hpp"
#include "claid/tree.hpp"
#include "cuda/kernels.hpp"
#include "cuda/plan.hpp"
#include "device.hpp"
#include "grid.hpp"
#include "random_features.hpp"

namespace claid::test {
namespace {

// A batch on the device with room for just so many members, which cuda::decompose never gives.
class Batch {
  public:
    Batch(const std::vector<Picture>& pictures, const Options& options, std::uint64_t members)
        : options_(options), capacity_{kRecords, members} {
        std::vector<cuda::FeatureView> views;
        for (const Picture& made : pictures) {
            cuda::FeatureView view;
            view.values = made.values.data();
            view.on_host = 1;
            view.dims = made.dims;
            view.grid = made.grid;
            views.push_back(view);
        }
        plan_ = cuda::plan(views, kBudget);
        CHECK(plan_.groups.size() == 1);
        std::vector<std::byte> workspace(plan_.workspace_bytes);
        for (std::size_t i = 0; i < views.size(); ++i) {
            std::memcpy(workspace.data() + plan_.images[i].features, views[i].values,
                        pictures[i].values.size() * sizeof(float));
        }
        workspace_ = static_cast<std::byte*>(emulated::upload(workspace.data(), workspace.size()));

        layout_ = cuda::tree_layout(views.size(), capacity_);
        std::vector<std::byte> tree(layout_.end);
        const cuda::Counters counters{0, cuda::kAllFinite, 0, 0, 0, 0};
        std::memcpy(tree.data() + layout_.counters, &counters, sizeof counters);
        for (std::size_t i = 0; i < views.size(); ++i) {
            const cuda::Image image =
                cuda::view(views[i], plan_.images[i], workspace_, options.energy_top);
            std::memcpy(tree.data() + layout_.images + i * sizeof image, &image, sizeof image);
        }
        tree_ = static_cast<std::byte*>(emulated::upload(tree.data(), tree.size()));
    }
    ~Batch() {
        emulated::release(workspace_);
        emulated::release(tree_);
    }
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;

    [[nodiscard]] cuda::Counters& counters() const {
        return *reinterpret_cast<cuda::Counters*>(tree_ + layout_.counters);
    }

    void grow_trees(std::uint32_t blocks) const {
        const cuda::GroupPlan& planned = plan_.groups.front();
        const cuda::Work work{reinterpret_cast<const cuda::Image*>(tree_ + layout_.images),
                              reinterpret_cast<cuda::Record*>(tree_ + layout_.records),
                              reinterpret_cast<std::uint32_t*>(tree_ + layout_.ready),
                              reinterpret_cast<std::uint16_t*>(tree_ + layout_.members),
                              reinterpret_cast<cuda::Totals*>(tree_ + layout_.totals),
                              &counters(),
                              capacity_.records,
                              capacity_.members};
        const cuda::Group group{work.images, 0, planned.count, planned.most_padded};
        cuda::launch_quantise(group, &work.counters->not_finite, nullptr);
        cuda::launch_high_energy(group, nullptr);
        cuda::launch_affinity(group, affinity_threshold(options_.tau), nullptr);
        CHECK(cuda::tree_blocks(0, planned.scratch_bytes) >= blocks);
        cuda::launch_trees(group, work, options_, {blocks, planned.scratch_bytes, nullptr},
                           nullptr);
        CHECK(cudaStreamSynchronize(nullptr) == cudaSuccess);
    }

  private:
    static constexpr std::uint32_t kRecords = 1000;
    static constexpr std::size_t kBudget = std::size_t{64} << 20;

    Options options_;
    cuda::Capacity capacity_;
    cuda::BatchPlan plan_;
    cuda::TreeLayout layout_{};
    std::byte *workspace_ = nullptr, *tree_ = nullptr;
};

}  // namespace

// Two blocks, held so that one numbers its records first and finds no room for their members after
// the other, whose records have the larger numbers, has published them. The numbers of the first
// are never published, and the second must not wait for them.
void test_numbers_never_published() {
    const Picture made = picture(Kind::blobs, {12, 21}, 48, 5);
    Options options;
    options.min_patches = 4;
    const RegionTree wanted = decompose(made.features(), options, *scalar_kernels(), 1);
    const auto below_root = std::ranges::count(wanted.regions, 1, &Region::level);
    CHECK(below_root >= 2);
    const auto members = static_cast<std::uint64_t>(wanted.offsets[std::size_t(below_root)]);

    const Batch batch({made, made}, options, members);
    const cuda::Counters& counters = batch.counters();
    enum Step { begun, first_has_numbers, second_has_published };
    Step step = begun;
    int counted = 0;  // how often the second block came to counters.pending
    emulated::hold_atomics([&](const void* target, std::uint32_t block) {
        const bool is_first = block == 0;
        if (is_first && target == &counters.members) return step < second_has_published;
        if (!is_first && target == &counters.records) return step < first_has_numbers;
        if (is_first && target == &counters.records && step == begun) step = first_has_numbers;
        // It counts its parts, publishes them and then counts off the whole.
        if (!is_first && target == &counters.pending && ++counted == 2) step = second_has_published;
        return false;
    });
    const emulated::Device ordinary = emulated::device();
    emulated::device().least_resident = 2;
    batch.grow_trees(2);
    emulated::device() = ordinary;
    emulated::hold_atomics(nullptr);
    CHECK(step == second_has_published);
    CHECK(counters.overflow == 1);
    CHECK(counters.members == 2 * members);
}

}  // namespace claid::test

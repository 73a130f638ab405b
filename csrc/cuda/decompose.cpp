#include "cuda/decompose.hpp"

#include <algorithm>
#include <optional>

#include "claid/affinity.hpp"
#include "cuda/check.hpp"
#include "cuda/kernels.hpp"
#include "cuda/memory.hpp"
#include "cuda/numbering.hpp"
#include "cuda/plan.hpp"

namespace claid::cuda {
namespace {

// Of the device's memory, for the steps before the tree. The second and third are tried where the
// first is not to be had; the last does one image at a time, without products.
constexpr std::size_t kBudgetShares[] = {4, 16, 64, 0};

constexpr int kLeastCapability = 75;

std::string mebibytes(std::size_t bytes) { return std::to_string((bytes >> 20) + 1) + " MiB"; }

// Where everything of a batch lies on the device.
class Batch {
  public:
    Batch(std::span<const FeatureView> batch, const Options& options, Place place,
          std::uint64_t growth)
        : batch_(batch),
          options_(options),
          device_(place.device),
          // Python has it as a number. NOLINTNEXTLINE(performance-no-int-to-ptr)
          stream_(reinterpret_cast<cudaStream_t>(place.stream)),
          capacity_(capacity(batch, growth)) {
        allocate();
    }

    // Nothing where the capacity was too small.
    std::optional<std::vector<RegionTree>> run() {
        upload();
        for (const GroupPlan& group : plan_.groups) enqueue(group);
        return bring_back();
    }

  private:
    // Everything of the tree, behind each other in one allocation.
    struct TreeLayout {
        std::size_t images, counters, totals, records, ready, members, end;
    };
    [[nodiscard]] TreeLayout tree_layout(std::size_t images) const {
        constexpr std::size_t kAlignment = 256;
        TreeLayout at{};
        std::size_t end = 0;
        const auto take = [&end](std::size_t bytes) {
            const std::size_t place = end;
            end += round_up(bytes, kAlignment);
            return place;
        };
        at.images = take(images * sizeof(Image));
        at.counters = take(sizeof(Counters));
        at.totals = take(images * sizeof(Totals));
        at.records = take(capacity_.records * sizeof(Record));
        at.ready = take(capacity_.records * sizeof(std::uint32_t));
        at.members = take(capacity_.members * sizeof(std::uint16_t));
        at.end = end;
        return at;
    }

    void allocate() {
        const std::size_t total = device_memory().total;
        for (const std::size_t share : kBudgetShares) {
            if (try_allocate(share == 0 ? 0 : total / share)) return;
            trim_pool();
        }
        throw_out_of_memory();
    }

    bool try_allocate(std::size_t budget) {
        plan_ = plan(batch_, budget);
        blocks_.clear();
        scratch_ = {};
        std::size_t scratch_bytes = 0;
        for (const GroupPlan& group : plan_.groups) {
            blocks_.push_back(tree_launch(group));
            if (blocks_.back().second) {
                scratch_bytes = std::max(scratch_bytes, blocks_.back().first * group.scratch_bytes);
            }
        }
        layout_ = tree_layout(batch_.size());
        needed_ = plan_.workspace_bytes + layout_.end + scratch_bytes;
        workspace_ = {};
        tree_ = {};
        workspace_ = Allocation(plan_.workspace_bytes, stream_);
        if (workspace_) tree_ = Allocation(layout_.end, stream_);
        if (tree_ && scratch_bytes > 0) scratch_ = Allocation(scratch_bytes, stream_);
        return tree_ && (scratch_bytes == 0 || scratch_);
    }

    // Blocks of the tree kernel, and whether their scratch is too large for shared memory.
    [[nodiscard]] std::pair<std::uint32_t, bool> tree_launch(const GroupPlan& group) const {
        const std::uint32_t in_shared = tree_blocks(device_, group.scratch_bytes);
        if (in_shared > 0) return {in_shared, false};
        return {tree_blocks(device_, 0), true};
    }

    [[noreturn]] void throw_out_of_memory() const {
        std::string message = "the batch of " + std::to_string(batch_.size()) +
                              " images needs at least " + mebibytes(needed_) +
                              " of memory on CUDA device " + std::to_string(device_) +
                              ", which has " + mebibytes(device_memory().free) + " free";
        if (const std::size_t half = batch_.size() / 2; half > 0) {
            const auto smaller = batch_.first(half);
            const Capacity room = capacity(smaller, 1);
            const std::size_t bytes = plan(smaller, 0).workspace_bytes +
                                      room.records * (sizeof(Record) + sizeof(std::uint32_t)) +
                                      room.members * sizeof(std::uint16_t);
            message += "; its first " + std::to_string(half) + " need " + mebibytes(bytes);
        }
        throw OutOfMemoryError(message);
    }

    template <class T>
    [[nodiscard]] T* tree_at(std::size_t place) const {
        return reinterpret_cast<T*>(tree_.get() + place);
    }

    void upload() {
        std::vector<Image> images;
        images.reserve(batch_.size());
        for (std::size_t i = 0; i < batch_.size(); ++i) {
            images.push_back(
                view(batch_[i], plan_.images[i], workspace_.get(), options_.energy_top));
        }
        const Counters counters{0, kAllFinite, 0, 0, 0, 0};
        copy(tree_at<Image>(layout_.images), images.data(), images.size());
        copy(tree_at<Counters>(layout_.counters), &counters, 1);
        clear(layout_.totals, batch_.size() * sizeof(Totals));
        clear(layout_.ready, capacity_.records * sizeof(std::uint32_t));
    }

    template <class T>
    void copy(T* to, const T* from, std::size_t count) {
        check(cudaMemcpyAsync(to, from, count * sizeof(T), cudaMemcpyDefault, stream_),
              "copying to or from the device");
    }
    void clear(std::size_t place, std::size_t bytes) {
        check(cudaMemsetAsync(tree_.get() + place, 0, bytes, stream_), "clearing device memory");
    }

    void enqueue(const GroupPlan& group) {
        for (std::uint32_t i = group.first; i < group.first + group.count; ++i) {
            if (!plan_.images[i].copied) continue;
            copy(workspace_.get() + plan_.images[i].features,
                 static_cast<const std::byte*>(batch_[i].values),
                 batch_[i].grid.patches() * batch_[i].dims * size_of(batch_[i].type));
        }
        const Group launched{tree_at<Image>(layout_.images), group.first, group.count,
                             group.most_padded};
        const Work work{launched.images,
                        tree_at<Record>(layout_.records),
                        tree_at<std::uint32_t>(layout_.ready),
                        tree_at<std::uint16_t>(layout_.members),
                        tree_at<Totals>(layout_.totals),
                        tree_at<Counters>(layout_.counters),
                        capacity_.records,
                        capacity_.members};
        launch_quantise(launched, &work.counters->not_finite, stream_);
        launch_high_energy(launched, stream_);
        launch_affinity(launched, affinity_threshold(options_.tau), stream_);
        const auto [blocks, in_global] =
            blocks_[static_cast<std::size_t>(&group - plan_.groups.data())];
        launch_trees(launched, work, options_,
                     {blocks, group.scratch_bytes, in_global ? scratch_.get() : nullptr}, stream_);
    }

    // The one place where the host waits.
    std::optional<std::vector<RegionTree>> bring_back() {
        Counters counters{};
        std::vector<Totals> totals(batch_.size());
        copy(&counters, tree_at<Counters>(layout_.counters), 1);
        copy(totals.data(), tree_at<Totals>(layout_.totals), totals.size());
        wait();
        if (counters.not_finite != kAllFinite) {
            throw NotFiniteError(NotFinitePlace::image(counters.not_finite),
                                 NotFinitePlace::row(counters.not_finite),
                                 NotFinitePlace::column(counters.not_finite));
        }
        if (counters.overflow != 0) return std::nullopt;
        std::vector<Record> records(counters.records);
        std::vector<std::uint16_t> members(counters.members);
        copy(records.data(), tree_at<Record>(layout_.records), records.size());
        copy(members.data(), tree_at<std::uint16_t>(layout_.members), members.size());
        wait();
        return number_regions(records, members, totals, options_.dominance);
    }

    void wait() { check(cudaStreamSynchronize(stream_), "decomposing on the device"); }

    std::span<const FeatureView> batch_;
    const Options& options_;
    int device_;
    cudaStream_t stream_;
    Capacity capacity_;
    BatchPlan plan_;
    TreeLayout layout_{};
    std::vector<std::pair<std::uint32_t, bool>> blocks_;  // of each group: tree_launch
    std::size_t needed_ = 0;
    Allocation workspace_, tree_, scratch_;
};

}  // namespace

NotFiniteError::NotFiniteError(std::size_t image, std::size_t row, std::size_t column)
    : std::invalid_argument("feature [" + std::to_string(row) + ", " + std::to_string(column) +
                            "] of image " + std::to_string(image) + " is not a finite float32"),
      image(image),
      row(row),
      column(column) {}

Availability availability() {
    int count = 0;
    const cudaError_t result = cudaGetDeviceCount(&count);
    if (result != cudaSuccess) {
        cudaGetLastError();
        return {false, cudaGetErrorString(result)};
    }
    if (count == 0) return {false, "there is no CUDA device"};
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, 0), "asking what CUDA device 0 is");
    const std::string capability =
        std::to_string(properties.major) + "." + std::to_string(properties.minor);
    const std::string found = std::string(properties.name) + ", compute capability " + capability;
    if (10 * properties.major + properties.minor < kLeastCapability) {
        return {false, found + ", but 7.5 is the least that this build runs on"};
    }
    return {true, count == 1 ? found : found + ", and " + std::to_string(count - 1) + " more"};
}

std::vector<RegionTree> decompose(std::span<const FeatureView> batch, const Options& options,
                                  Place place) {
    constexpr std::uint64_t kGrowth = 4;
    if (batch.empty()) return {};
    const DeviceGuard guard(place.device);
    for (std::uint64_t growth = 1;; growth *= kGrowth) {
        if (auto trees = Batch(batch, options, place, growth).run()) return std::move(*trees);
    }
}

}  // namespace claid::cuda

#include "cuda/decompose.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>

#include "claid/affinity.hpp"
#include "claid/memory.hpp"
#include "cuda/check.hpp"
#include "cuda/kernels.hpp"
#include "cuda/memory.hpp"
#include "cuda/numbering.hpp"
#include "cuda/plan.hpp"
#include "cuda/timing.hpp"

namespace claid::cuda {
namespace {

// Of the device's memory, for the steps before the tree. The second and third are tried where the
// first is not to be had; the last does one image at a time, without products.
constexpr std::size_t kBudgetShares[] = {4, 16, 64, 0};

constexpr int kLeastCapability = 75;

std::string mebibytes(std::size_t bytes) { return std::to_string((bytes >> 20) + 1) + " MiB"; }

// What the bits of a feature that is not finite as float32 stand for.
double value_of(Real type, std::uint64_t bits) {
    switch (type) {
        case Real::float16: {
            constexpr std::uint64_t kFraction = 0x3FF, kSign = 0x8000;
            if ((bits & kFraction) != 0) return std::numeric_limits<double>::quiet_NaN();
            const double infinity = std::numeric_limits<double>::infinity();
            return (bits & kSign) != 0 ? -infinity : infinity;
        }
        case Real::bfloat16:
            return std::bit_cast<float>(static_cast<std::uint32_t>(bits << 16));
        case Real::float32:
            return std::bit_cast<float>(static_cast<std::uint32_t>(bits));
        case Real::float64:
            return std::bit_cast<double>(bits);
    }
    return 0;  // there is no other type
}

// The tree kernel's blocks at work at once, and whether their scratch fits shared memory.
struct TreeRoom {
    std::uint32_t blocks;
    bool in_shared;
};

// All that a batch takes of the device.
struct Needs {
    BatchPlan plan;
    TreeLayout tree;
    std::vector<TreeRoom> rooms;    // of each group
    std::size_t scratch_bytes = 0;  // of all blocks, where they have it in the device's memory

    [[nodiscard]] std::size_t bytes() const {
        return plan.workspace_bytes + tree.end + scratch_bytes;
    }
};

Needs needs_of(std::span<const FeatureView> batch, std::size_t budget, const Capacity& capacity,
               int device) {
    Needs needs;
    needs.plan = plan(batch, budget);
    needs.tree = tree_layout(batch.size(), capacity);
    for (const GroupPlan& group : needs.plan.groups) {
        TreeRoom room{tree_blocks(device, group.scratch_bytes), true};
        if (room.blocks == 0) room = {tree_blocks(device, 0), false};
        if (!room.in_shared) {
            needs.scratch_bytes = std::max(needs.scratch_bytes,
                                           round_up(room.blocks * group.scratch_bytes, kAlignment));
        }
        needs.rooms.push_back(room);
    }
    return needs;
}

// Where everything of a batch lies on the device.
class Batch {
  public:
    Batch(std::span<const FeatureView> batch, const Options& options, Place place,
          std::uint64_t growth, Timing* timing)
        : batch_(batch),
          options_(options),
          device_(place.device),
          // Python has it as a number. NOLINTNEXTLINE(performance-no-int-to-ptr)
          stream_(reinterpret_cast<cudaStream_t>(place.stream)),
          growth_(growth),
          capacity_(capacity(batch, growth)),
          timing_(timing),
          stopwatch_(timing, stream_) {
        allocate();
    }

    // After an error, what is on the stream still reads features that the caller may then free.
    ~Batch() {
        if (at_work_) cudaStreamSynchronize(stream_);
    }
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;

    // Nothing where the capacity was too small.
    std::optional<std::vector<RegionTree>> run() {
        at_work_ = true;
        stopwatch_.mark(&Timing::upload);
        upload();
        for (const GroupPlan& group : needs_.plan.groups) enqueue(group);
        return bring_back();
    }

  private:
    void allocate() {
        const std::size_t total = device_memory().total;
        for (const std::size_t share : kBudgetShares) {
            if (try_allocate(share == 0 ? 0 : total / share)) return;
            trim_pool();
        }
        throw_out_of_memory();
    }

    bool try_allocate(std::size_t budget) {
        needs_ = needs_of(batch_, budget, capacity_, device_);
        scratch_ = {};
        workspace_ = {};
        tree_ = {};
        workspace_ = Allocation(needs_.plan.workspace_bytes, stream_);
        if (workspace_) tree_ = Allocation(needs_.tree.end, stream_);
        if (tree_ && needs_.scratch_bytes > 0) {
            scratch_ = Allocation(needs_.scratch_bytes, stream_);
        }
        return tree_ && (needs_.scratch_bytes == 0 || scratch_);
    }

    [[noreturn]] void throw_out_of_memory() const {
        std::string message = "the batch of " + std::to_string(batch_.size()) +
                              " images needs at least " + mebibytes(needs_.bytes()) +
                              " of memory on CUDA device " + std::to_string(device_) +
                              ", which has " + mebibytes(device_memory().free) + " free";
        const std::size_t half = batch_.size() / 2;
        std::size_t half_needs = 0;
        if (half > 0) {
            const auto smaller = batch_.first(half);
            half_needs = needs_of(smaller, 0, capacity(smaller, growth_), device_).bytes();
            message += "; its first " + std::to_string(half) + " need " + mebibytes(half_needs);
        }
        throw OutOfMemoryError(message, needs_.bytes(), half_needs);
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
                view(batch_[i], needs_.plan.images[i], workspace_.get(), options_.energy_top));
        }
        const Counters counters{0, kAllFinite, 0, 0, 0, 0};
        copy(tree_at<Image>(needs_.tree.images), images.data(), images.size());
        copy(tree_at<Counters>(needs_.tree.counters), &counters, 1);
        clear(needs_.tree.totals, batch_.size() * sizeof(Totals));
        clear(needs_.tree.ready, capacity_.records * sizeof(std::uint32_t));
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
            if (!needs_.plan.images[i].copied) continue;
            copy(workspace_.get() + needs_.plan.images[i].features,
                 static_cast<const std::byte*>(batch_[i].values),
                 batch_[i].grid.patches() * batch_[i].dims * size_of(batch_[i].type));
        }
        const Group launched{tree_at<Image>(needs_.tree.images), group.first, group.count,
                             group.most_padded};
        const Work work{launched.images,
                        tree_at<Record>(needs_.tree.records),
                        tree_at<std::uint32_t>(needs_.tree.ready),
                        tree_at<std::uint16_t>(needs_.tree.members),
                        tree_at<Totals>(needs_.tree.totals),
                        tree_at<Counters>(needs_.tree.counters),
                        capacity_.records,
                        capacity_.members};
        stopwatch_.mark(&Timing::upload);
        launch_quantise(launched, &work.counters->not_finite, stream_);
        launch_high_energy(launched, stream_);
        stopwatch_.mark(&Timing::quantise);
        launch_affinity(launched, affinity_threshold(options_.tau), stream_);
        stopwatch_.mark(&Timing::affinity);
        const TreeRoom room =
            needs_.rooms[static_cast<std::size_t>(&group - needs_.plan.groups.data())];
        launch_trees(launched, work, options_,
                     {room.blocks, group.scratch_bytes, room.in_shared ? nullptr : scratch_.get()},
                     stream_);
        stopwatch_.mark(&Timing::tree);
    }

    // The one place where the host waits.
    std::optional<std::vector<RegionTree>> bring_back() {
        Counters counters{};
        std::vector<Totals> totals(batch_.size());
        copy(&counters, tree_at<Counters>(needs_.tree.counters), 1);
        copy(totals.data(), tree_at<Totals>(needs_.tree.totals), totals.size());
        wait();
        at_work_ = false;
        if (counters.not_finite != kAllFinite) throw_not_finite(counters.not_finite);
        if (counters.overflow != 0) return std::nullopt;
        if (timing_ != nullptr) read_times(totals);
        std::vector<Record> records(counters.records);
        std::vector<std::uint16_t> members(counters.members);
        copy(records.data(), tree_at<Record>(needs_.tree.records), records.size());
        copy(members.data(), tree_at<std::uint16_t>(needs_.tree.members), members.size());
        wait();
        return number_regions(records, members, totals, options_.dominance);
    }

    [[noreturn]] void throw_not_finite(std::uint64_t place) {
        const std::size_t image = NotFinitePlace::image(place);
        const std::size_t row = NotFinitePlace::row(place);
        const std::size_t column = NotFinitePlace::column(place);
        const FeatureView& features = batch_[image];
        const std::int64_t at =
            features.on_host != 0 ? static_cast<std::int64_t>(row * features.dims + column)
                                  : static_cast<std::int64_t>(row) * features.row_stride +
                                        static_cast<std::int64_t>(column) * features.column_stride;
        const auto size = static_cast<std::int64_t>(size_of(features.type));
        std::uint64_t bits = 0;  // little-endian, as every host of CUDA is
        const auto* const from = static_cast<const std::byte*>(features.values) + at * size;
        if (features.on_host != 0) {
            std::memcpy(&bits, from, static_cast<std::size_t>(size));
        } else {
            copy(reinterpret_cast<std::byte*>(&bits), from, static_cast<std::size_t>(size));
            wait();
        }
        throw NotFiniteError(image, row, column, value_of(features.type, bits));
    }

    void read_times(const std::vector<Totals>& totals) const {
        constexpr double kMillisecond = 1e-6;  // in nanoseconds
        stopwatch_.read();
        for (const Totals& image : totals) {
            timing_->busy += kMillisecond * static_cast<double>(image.busy_nanoseconds);
            timing_->sweeps += kMillisecond * static_cast<double>(image.sweep_nanoseconds);
            timing_->rounds += image.rounds;
            timing_->moves += image.moves;
            timing_->products += image.products;
        }
    }

    void wait() { check(cudaStreamSynchronize(stream_), "decomposing on the device"); }

    std::span<const FeatureView> batch_;
    const Options& options_;
    int device_;
    cudaStream_t stream_;
    std::uint64_t growth_;
    Capacity capacity_;
    Needs needs_;
    bool at_work_ = false;
    Timing* timing_;
    Stopwatch stopwatch_;
    Allocation workspace_, tree_, scratch_;
};

}  // namespace

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
                                  Place place, Timing* timing) {
    constexpr std::uint64_t kGrowth = 4;
    if (batch.empty()) return {};
    const DeviceGuard guard(place.device);
    for (std::uint64_t growth = 1;; growth *= kGrowth) {
        if (auto trees = Batch(batch, options, place, growth, timing).run())
            return std::move(*trees);
    }
}

}  // namespace claid::cuda

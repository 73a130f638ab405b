#include "cuda/plan.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "claid/memory.hpp"
#include "cuda/scratch.hpp"

namespace claid::cuda {
namespace {

// A kernel's grid has no more rows of blocks.
constexpr std::uint32_t kMostImages = 65535;

class Layout {
  public:
    explicit Layout(std::size_t at) : at_(at) {}
    std::size_t take(std::size_t count, std::size_t item_bytes) {
        const std::size_t place = at_;
        at_ += round_up(count * item_bytes, kAlignment);
        return place;
    }
    [[nodiscard]] std::size_t end() const { return at_; }

  private:
    std::size_t at_;
};

// Lays an image out from `at` on; the end of it.
std::size_t lay_out(const FeatureView& features, bool products_kept, std::size_t at,
                    ImagePlan& out) {
    const std::size_t patches = features.grid.patches();
    const std::size_t padded = round_up(patches, kTile);
    const std::size_t stride = round_up(features.dims, kRowStep);
    const std::size_t words = padded / kLinkBits;
    Layout layout(at);
    out.padded = static_cast<std::uint32_t>(padded);
    out.stride = static_cast<std::uint32_t>(stride);
    out.products_kept = products_kept;
    out.copied = features.on_host != 0;
    out.features = layout.take(out.copied ? patches * features.dims : 0, size_of(features.type));
    out.rows = layout.take(padded * stride, sizeof(std::int16_t));
    out.squares = layout.take(padded, sizeof(std::int32_t));
    out.energy = layout.take(padded, sizeof(float));
    out.high = layout.take(words, sizeof(std::uint32_t));
    out.links = layout.take(padded * words, sizeof(std::uint32_t));
    out.products = layout.take(products_kept ? padded * padded : 0, sizeof(std::int32_t));
    return layout.end();
}

}  // namespace

std::size_t size_of(Real type) {
    switch (type) {
        case Real::float16:
        case Real::bfloat16:
            return 2;
        case Real::float32:
            return 4;
        case Real::float64:
            return 8;
    }
    return 0;
}

BatchPlan plan(std::span<const FeatureView> batch, std::size_t budget) {
    BatchPlan out;
    std::size_t used = 0;
    for (const FeatureView& features : batch) {
        ImagePlan image{};
        const bool products_kept = lay_out(features, true, 0, image) <= budget;
        std::size_t end = lay_out(features, products_kept, used, image);
        if (out.groups.empty() || end > budget || out.groups.back().count == kMostImages) {
            out.groups.push_back({static_cast<std::uint32_t>(out.images.size()), 0, 0, 0});
            end = lay_out(features, products_kept, 0, image);
        }
        GroupPlan& group = out.groups.back();
        group.count += 1;
        group.most_padded = std::max(group.most_padded, image.padded);
        group.scratch_bytes = std::max(
            group.scratch_bytes, cuda::scratch_bytes(image.padded, image.stride, products_kept));
        used = end;
        out.workspace_bytes = std::max(out.workspace_bytes, end);
        out.images.push_back(image);
    }
    return out;
}

Capacity capacity(std::span<const FeatureView> batch, std::uint64_t growth) {
    constexpr std::uint64_t kMembersPerPatch = 24, kPatchesPerRecord = 4, kRecords = 64;
    std::uint64_t records = 0, members = 0;
    for (const FeatureView& features : batch) {
        const std::uint64_t patches = features.grid.patches();
        records += (patches / kPatchesPerRecord + kRecords) * growth;
        members += patches * kMembersPerPatch * growth;
    }
    records =
        std::min<std::uint64_t>(records + batch.size(), std::numeric_limits<std::int32_t>::max());
    return {static_cast<std::uint32_t>(records), members};
}

TreeLayout tree_layout(std::size_t images, const Capacity& capacity) {
    Layout layout(0);
    TreeLayout out{};
    out.images = layout.take(images, sizeof(Image));
    out.counters = layout.take(1, sizeof(Counters));
    out.totals = layout.take(images, sizeof(Totals));
    out.records = layout.take(capacity.records, sizeof(Record));
    out.ready = layout.take(capacity.records, sizeof(std::uint32_t));
    out.members = layout.take(capacity.members, sizeof(std::uint16_t));
    out.end = layout.end();
    return out;
}

Image view(const FeatureView& features, const ImagePlan& plan, std::byte* base, double energy_top) {
    const auto patches = static_cast<double>(features.grid.patches());
    Image image;
    image.features = features;
    if (plan.copied) {
        image.features.values = base + plan.features;
        image.features.row_stride = static_cast<std::int64_t>(features.dims);
        image.features.column_stride = 1;
    }
    image.patches = static_cast<std::uint32_t>(features.grid.patches());
    image.padded = plan.padded;
    image.stride = plan.stride;
    image.high_count =
        std::max(1U, static_cast<std::uint32_t>(std::floor(energy_top * patches + 0.5)));
    image.rows = reinterpret_cast<std::int16_t*>(base + plan.rows);
    image.squares = reinterpret_cast<std::int32_t*>(base + plan.squares);
    image.energy = reinterpret_cast<float*>(base + plan.energy);
    image.high = reinterpret_cast<std::uint32_t*>(base + plan.high);
    image.links = reinterpret_cast<std::uint32_t*>(base + plan.links);
    if (plan.products_kept) image.products = reinterpret_cast<std::int32_t*>(base + plan.products);
    return image;
}

}  // namespace claid::cuda

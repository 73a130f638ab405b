// Runs the tree's device algorithms on the host: every block a thread, every block's threads a
// loop.
#pragma once

#include <cstring>
#include <span>
#include <thread>
#include <vector>

#include "claid/affinity.hpp"
#include "claid/q15.hpp"
#include "cuda/numbering.hpp"
#include "cuda/tree.cuh"
#include "host_block.hpp"

namespace claid::test {

// What the kernels before the tree leave for one image, taken from the CPU's steps.
class HostImage {
  public:
    HostImage(const Features& features, const Options& options, bool keep_products) {
        const Kernels& simd = *scalar_kernels();
        const Q15Rows q15 = quantise(features, simd, 1);
        const BitGraph graph = affinity(q15, options.tau, simd, 1);
        const std::vector<std::uint64_t> high = high_energy_patches(q15.energy, options.energy_top);
        const std::size_t padded = round_up(q15.patches, cuda::kTile);
        image_.patches = static_cast<std::uint32_t>(q15.patches);
        image_.padded = static_cast<std::uint32_t>(padded);
        image_.stride = static_cast<std::uint32_t>(q15.stride);
        image_.features.dims = features.dims;
        image_.features.grid = features.grid;
        rows_ = AlignedArray<std::int16_t>(padded * q15.stride);
        links_ = AlignedArray<std::uint32_t>(padded * image_.words());
        std::memset(rows_.data(), 0, rows_.size() * sizeof(std::int16_t));
        std::memset(links_.data(), 0, links_.size() * sizeof(std::uint32_t));
        squares_.assign(padded, 0);
        high_.assign(image_.words(), 0);
        for (std::size_t p = 0; p < q15.patches; ++p) {
            std::memcpy(rows_.data() + p * q15.stride, q15.row(p),
                        q15.stride * sizeof(std::int16_t));
            squares_[p] = q15.squares[p];
            set(high_.data(), p, (high[p / kWordBits] >> p % kWordBits & 1) != 0);
            for (std::size_t q = 0; q < q15.patches; ++q) {
                set(links_.data() + p * image_.words(), q, graph.linked(p, q));
            }
        }
        image_.rows = rows_.data();
        image_.squares = squares_.data();
        image_.high = high_.data();
        image_.links = links_.data();
        if (!keep_products) return;
        products_.assign(padded * padded, 0);
        for (std::size_t p = 0; p < q15.patches; ++p) {
            for (std::size_t q = 0; q < q15.patches; ++q) {
                products_[p * padded + q] = simd.dot(q15.row(p), q15.row(q), q15.stride);
            }
        }
        image_.products = products_.data();
    }

    [[nodiscard]] const cuda::Image& view() const { return image_; }

  private:
    static void set(std::uint32_t* words, std::size_t p, bool on) {
        words[p / cuda::kLinkBits] |= static_cast<std::uint32_t>(on) << p % cuda::kLinkBits;
    }

    cuda::Image image_;
    AlignedArray<std::int16_t> rows_;
    AlignedArray<std::uint32_t> links_;
    std::vector<std::int32_t> squares_, products_;
    std::vector<std::uint32_t> high_;
};

struct HostRun {
    int threads = 64;
    ThreadOrder order = ThreadOrder::ascending;
    std::size_t blocks = 1;
    std::uint32_t record_capacity = 20000;
    std::uint64_t member_capacity = 2000000;
};

struct HostResult {
    bool overflow;
    std::vector<RegionTree> trees;
};

// make_block(b, counters) is the block of host thread b.
template <class MakeBlock>
HostResult grow_trees(std::span<const cuda::Image> images, const Options& options,
                      const HostRun& run, const MakeBlock& make_block) {
    std::vector<cuda::Record> records(run.record_capacity);
    std::vector<std::uint32_t> ready(run.record_capacity, 0);
    std::vector<std::uint16_t> members(run.member_capacity);
    std::vector<cuda::Totals> totals(images.size(), cuda::Totals{});
    const auto roots = static_cast<std::uint32_t>(images.size());
    cuda::Counters counters{0, cuda::kAllFinite, roots, 0, roots, 0};
    std::size_t scratch_bytes = 0;
    for (std::uint32_t i = 0; i < roots; ++i) {
        records[i].image = i;
        records[i].size = images[i].patches;
        ready[i] = 1;
        scratch_bytes =
            std::max(scratch_bytes, cuda::Scratch::bytes(images[i].padded, images[i].stride,
                                                         images[i].products != nullptr));
    }
    const cuda::Work work{images.data(), records.data(), ready.data(),        members.data(),
                          totals.data(), &counters,      run.record_capacity, run.member_capacity};
    {
        std::vector<std::jthread> blocks;
        for (std::size_t b = 0; b < run.blocks; ++b) {
            blocks.emplace_back([&, b] {
                AlignedArray<std::byte> memory(scratch_bytes);
                cuda::Shared shared;
                std::memset(&shared, 0xA5, sizeof shared);
                std::memset(memory.data(), 0xA5, memory.size());
                auto block = make_block(b, counters);
                cuda::Grower(block, shared, work, options, memory.data()).run();
            });
        }
    }
    if (counters.overflow != 0) return {true, {}};
    return {false, cuda::number_regions({records.data(), counters.records}, members, totals,
                                        options.dominance)};
}

inline HostResult grow_trees(std::span<const cuda::Image> images, const Options& options,
                             const HostRun& run) {
    return grow_trees(images, options, run, [&](std::size_t b, cuda::Counters&) {
        return HostBlock(run.threads, run.order, static_cast<std::uint32_t>(b + 7));
    });
}

}  // namespace claid::test

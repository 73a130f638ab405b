// Algorithm 1 for all images of a batch at once: blocks take records from a queue, measure the
// region, bisect it where it is to be bisected and queue the parts. No host in between.
//
// The queue is the array of records itself. A block without work draws the next number and waits
// for that record, or for the end. `pending` counts the records that are published and not yet
// done with; parts are counted before the whole is counted off, so that it is 0 only at the end,
// and a block that waits never keeps another from working; no block needs another to be resident.
// Where room runs out, records may be numbered that are never published, and all blocks could come
// to wait for those while published ones have larger numbers: then all stop, for the host begins
// anew with more room.
#pragma once

#include <cstddef>

#include "cuda/components.cuh"
#include "cuda/ksums.cuh"
#include "cuda/seeds.cuh"

namespace claid::cuda {

class Grower {
  public:
    __device__ Grower(Block& block, Shared& shared, const Work& work, const Options& options,
                      std::byte* scratch)
        : block_(block), shared_(shared), work_(work), options_(options), memory_(scratch) {}

    __device__ void run() {
        for (;;) {
            block_.for_each_thread([&](int thread) {
                if (thread == 0) shared_.record = next_record();
            });
            const std::uint32_t record = shared_.record;
            if (record == kNoRecord) return;
            const std::uint64_t start = block_.nanoseconds();
            grow(record);
            block_.for_each_thread([&](int thread) {
                if (thread != 0) return;
                block_.add(work_.totals[work_.records[record].image].busy_nanoseconds,
                           block_.nanoseconds() - start);
                block_.add(work_.counters->pending, ~std::uint32_t{0});
            });
        }
    }

  private:
    __device__ std::uint32_t next_record() {
        const std::uint32_t record = block_.add(work_.counters->next, 1U);
        for (;; block_.pause()) {
            if (record < work_.record_capacity && block_.acquire(work_.ready[record]) != 0) {
                return record;
            }
            if (block_.acquire(work_.counters->pending) == 0) return kNoRecord;
            if (block_.acquire(work_.counters->overflow) != 0) return kNoRecord;
        }
    }

    __device__ void grow(std::uint32_t number) {
        const Record record = work_.records[number];
        const bool is_root = record.parent == kNoRecord;
        const Image& image = work_.images[record.image];
        const Scratch scratch = Scratch::in(memory_, image);
        const Node node{image, scratch, record.size};
        std::uint16_t* const members = is_root ? nullptr : work_.members + record.first_member;
        const Measures measures = measure(block_, shared_, node, members);
        const double connectivity = connectivity_of(measures, record.size);
        block_.for_each_thread([&](int thread) {
            if (thread == 0) write(number, measures, connectivity);
        });
        if (is_root ? record.size > 1 : connectivity < options_.connectivity) {
            bisect(number, node, measures, record.image);
        }
    }

    __device__ void bisect(std::uint32_t number, const Node& node, const Measures& measures,
                           std::uint32_t image) {
        start(block_, shared_, node, options_, measures);
        const std::uint64_t before = block_.nanoseconds();
        const Effort effort = k_sums(block_, shared_, node, options_);
        block_.for_each_thread([&](int thread) {
            if (thread != 0) return;
            Totals& totals = work_.totals[image];
            block_.add(totals.cuts, std::uint64_t{1});
            block_.add(totals.moves, effort.moves);
            block_.add(totals.rounds, effort.rounds);
            block_.add(totals.products, effort.moves * node.size);
            block_.add(totals.sweep_nanoseconds, block_.nanoseconds() - before);
        });
        Components(block_, shared_, node).publish(work_, number, options_.min_patches);
    }

    // Eq. 8 and 9: the share of pairs that are linked, 2 E / (k (k - 1)).
    [[nodiscard]] __device__ double connectivity_of(const Measures& measures,
                                                    std::uint32_t size) const {
        const auto k = static_cast<std::int64_t>(size);
        if (k == 1) return 0.0;
        auto ends = static_cast<std::int64_t>(measures.link_ends);
        if (options_.rules == Rules::released) ends += k;  // counts the diagonal
        return static_cast<double>(ends) / static_cast<double>(k * (k - 1));
    }

    __device__ void write(std::uint32_t number, const Measures& measures, double connectivity) {
        Record& record = work_.records[number];
        record.connectivity = connectivity;
        record.dominance = static_cast<double>(measures.high) / static_cast<double>(record.size);
        for (int side = 0; side < 4; ++side) record.box[side] = measures.box[side];
    }

    Block& block_;
    Shared& shared_;
    const Work& work_;
    const Options& options_;
    std::byte* memory_;
};

}  // namespace claid::cuda

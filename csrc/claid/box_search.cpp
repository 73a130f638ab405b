#include "claid/box_search.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <numeric>

#include "claid/box_grid.hpp"
#include "claid/box_scores.hpp"
#include "claid/parallel.hpp"

namespace claid {
namespace {

// max o is taken to be at least this: on a photo without contrast it would be rounding alone.
constexpr double kLeastContrast = 0.01;

// Of the second round, in those of the first.
constexpr double kSecondStep = 0.5;

// What one thread needs for one photo after another.
class PhotoSearch {
  public:
    PhotoSearch(const PreparedQuery& query, const BoxSearchOptions& options, const SimdLevel& level)
        : query_(query), options_(options), scorer_(query, options, level) {}

    FoundBox find(const PhotoMaps& photo, bool keep_boxes) {
        list_.boxes.clear();
        list_.grids.clear();
        parts_.clear();
        scores_.clear();
        scorer_.start(photo);

        add_coarse_grid(photo, query_.aspect(), options_, list_);
        add_regions(photo, list_);
        score_new_boxes(0);
        highest_ = std::ranges::max(parts_, {}, &BoxScore::contrast).contrast;
        highest_ = std::max(highest_, kLeastContrast);
        add_up();
        const std::size_t coarse = list_.boxes.size();
        if (options_.rounds > 0) refine(photo, options_.seeds, 1.0);
        if (options_.rounds > 1) refine(photo, options_.second_seeds, kSecondStep);
        FoundBox found = answer();
        found.coarse = coarse;
        found.count = list_.boxes.size();
        if (keep_boxes) {
            found.boxes = list_.boxes;
            found.scores = scores_;
        }
        return found;
    }

  private:
    void score_new_boxes(std::size_t first_grid) {
        parts_.resize(list_.boxes.size());
        for (std::size_t i = first_grid; i < list_.grids.size(); ++i) {
            const BoxGrid& grid = list_.grids[i];
            scorer_.score(grid, list_.boxes.data() + grid.first, parts_.data() + grid.first);
        }
    }

    void add_up() {
        for (std::size_t b = scores_.size(); b < parts_.size(); ++b) {
            const BoxScore& part = parts_[b];
            scores_.push_back(static_cast<double>(part.core) +
                              options_.contrast_weight * part.contrast / highest_ +
                              options_.region_weight * static_cast<double>(part.overlap));
        }
    }

    // Step 2: boxes around the best so far; of equals the earliest.
    void refine(const PhotoMaps& photo, std::size_t seeds, double step) {
        order_.resize(scores_.size());
        std::iota(order_.begin(), order_.end(), std::size_t{0});
        const auto best = std::min(seeds, order_.size());
        std::partial_sort(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(best),
                          order_.end(), [this](std::size_t a, std::size_t b) {
                              return scores_[a] != scores_[b] ? scores_[a] > scores_[b] : a < b;
                          });
        const std::size_t first_grid = list_.grids.size();
        for (std::size_t i = 0; i < best; ++i) {
            const Box seed = list_.boxes[order_[i]];
            add_refined(photo, seed, options_, step, list_);
        }
        score_new_boxes(first_grid);
        add_up();
    }

    // Step 3: the mean of the boxes that overlap the best one, by their scores.
    [[nodiscard]] FoundBox answer() const {
        const auto winner =
            static_cast<std::size_t>(std::ranges::max_element(scores_) - scores_.begin());
        const Box& best = list_.boxes[winner];
        std::array<double, 4> sum{};
        double weights = 0.0;
        for (std::size_t b = 0; b < list_.boxes.size(); ++b) {
            const Box& box = list_.boxes[b];
            if (b != winner && iou(box, best) < options_.least_iou) continue;
            const double weight = std::exp((scores_[b] - scores_[winner]) / options_.temperature);
            weights += weight;
            const std::array<double, 4> sides = {box.x0, box.y0, box.x1, box.y1};
            for (std::size_t i = 0; i < sides.size(); ++i) sum[i] += weight * sides[i];
        }
        FoundBox found;
        found.box = {sum[0] / weights, sum[1] / weights, sum[2] / weights, sum[3] / weights};
        found.best = best;
        found.score = scores_[winner];
        found.core = static_cast<double>(parts_[winner].core);
        return found;
    }

    const PreparedQuery& query_;
    const BoxSearchOptions& options_;
    BoxScorer scorer_;
    BoxList list_;
    std::vector<BoxScore> parts_;
    std::vector<double> scores_;
    std::vector<std::size_t> order_;
    double highest_ = 0.0;
};

}  // namespace

std::vector<FoundBox> box_search(std::span<const PhotoMaps> photos, const BoxQuery& query,
                                 const BoxSearchOptions& options, const SimdLevel& level,
                                 std::size_t threads, bool keep_boxes) {
    const PreparedQuery prepared(query, *level.kernels);
    std::vector<FoundBox> found(photos.size());
    std::atomic<std::size_t> next{0};
    const std::size_t workers = std::min(std::max<std::size_t>(threads, 1), photos.size());
    // A worker's memory serves one photo after another.
    parallel_for(workers, workers, [&](std::size_t) {
        PhotoSearch search(prepared, options, level);
        for (std::size_t i = next++; i < photos.size(); i = next++) {
            found[i] = search.find(photos[i], keep_boxes);
        }
    });
    return found;
}

}  // namespace claid

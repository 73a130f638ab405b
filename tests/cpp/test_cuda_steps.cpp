// The CUDA backend's steps before the tree, on the host: what each lane and each tensor-core
// operand holds, against the CPU's rows and affinity; and the plan of a batch in memory.
#include <cmath>
#include <cstring>
#include <limits>

#include "check.hpp"
#include "claid/affinity.hpp"
#include "claid/q15.hpp"
#include "cuda/affinity.cuh"
#include "cuda/plan.hpp"
#include "cuda/q15.cuh"
#include "host_block.hpp"
#include "random_features.hpp"

namespace claid::test {
namespace {

constexpr double kUnit = 32767.0;

// The quantise kernel's lanes and its order of joining them.
void test_q15() {
    for (const std::size_t dims : {1, 15, 16, 17, 64, 100, 768}) {
        const Picture made = picture(Kind::blobs, {5, 6}, dims, static_cast<std::uint32_t>(dims));
        const Q15Rows wanted = quantise(made.features(), *scalar_kernels(), 1);
        for (std::size_t row = 0; row < wanted.patches; ++row) {
            const float* x = made.values.data() + row * dims;
            const auto load = [x](std::uint64_t k) { return x[k]; };
            cuda::RowNorms lanes[cuda::kLanes];
            for (std::uint32_t j = 0; j < cuda::kLanes; ++j) {
                lanes[j] = cuda::lane_norms(load, dims, j);
                CHECK(cuda::first_not_finite(load, dims, j) == dims);
            }
            for (std::uint32_t half = cuda::kLanes / 2; half > 0; half /= 2) {
                for (std::uint32_t j = 0; j < half; ++j) {
                    lanes[j].squared_norm += lanes[j + half].squared_norm;
                    lanes[j].energy += lanes[j + half].energy;
                }
            }
            CHECK(static_cast<float>(lanes[0].energy) == wanted.energy[row]);
            const double scale = kUnit / std::sqrt(lanes[0].squared_norm);
            bool equal = true;
            for (std::size_t k = 0; k < dims; ++k) {
                equal = equal &&
                        static_cast<std::int16_t>(std::rint(x[k] * scale)) == wanted.row(row)[k];
            }
            CHECK(equal);
        }
    }
    float x[40] = {};
    const auto load = [&x](std::uint64_t k) { return x[k]; };
    x[35] = std::numeric_limits<float>::quiet_NaN();
    CHECK(cuda::first_not_finite(load, 40, 3) == 35);
    x[19] = std::numeric_limits<float>::infinity();
    CHECK(cuda::first_not_finite(load, 40, 3) == 19);
    CHECK(cuda::first_not_finite(load, 40, 4) == 40);
}

void test_high_energy() {
    std::mt19937 random(3);
    for (const std::size_t patches : {1, 2, 31, 33, 200, 1000}) {
        for (const double top : {0.0, 0.1, 0.3, 0.99, 1.0}) {
            std::vector<float> energy(patches);
            for (float& e : energy)
                e = std::ldexp(static_cast<float>(random() % 50), int(random() % 40) - 20);
            const std::vector<std::uint64_t> wanted = high_energy_patches(energy, top);
            const std::size_t padded = round_up(patches, cuda::kTile);
            std::vector<std::uint32_t> high(padded / cuda::kLinkBits, 0xA5A5A5A5);
            cuda::Image image;
            image.patches = static_cast<std::uint32_t>(patches);
            image.padded = static_cast<std::uint32_t>(padded);
            image.high_count = std::max(
                1U,
                static_cast<std::uint32_t>(std::floor(top * static_cast<double>(patches) + 0.5)));
            image.energy = energy.data();
            image.high = high.data();
            HostBlock block(48, ThreadOrder::shuffled);
            cuda::EnergyShared shared{};
            cuda::find_high_energy(block, shared, image);
            bool equal = true;
            for (std::size_t p = 0; p < padded; ++p) {
                const bool in = (high[p / 32] >> p % 32 & 1) != 0;
                equal = equal &&
                        in == (p < patches && (wanted[p / kWordBits] >> p % kWordBits & 1) != 0);
            }
            CHECK(equal);
        }
    }
}

// mma.m16n8k32 as the PTX manual defines it: which element of A, B and C each lane's registers
// hold. Bytes of A and B are signed where `a_signed`, `b_signed`.
struct Mma {
    std::uint32_t a[32][4], b[32][2];
    std::int32_t c[32][4];

    static std::int64_t byte(std::uint32_t word, std::uint32_t i, bool is_signed) {
        const auto value = static_cast<std::uint8_t>(word >> 8 * i);
        return is_signed ? static_cast<std::int8_t>(value) : std::int64_t{value};
    }
    void run(bool a_signed, bool b_signed) {
        std::int64_t A[16][32], B[32][8];
        for (std::uint32_t lane = 0; lane < 32; ++lane) {
            const std::uint32_t group = lane / 4, in_group = lane % 4;
            for (std::uint32_t i = 0; i < 16; ++i) {
                const std::uint32_t row = i < 4 || (i >= 8 && i < 12) ? group : group + 8;
                const std::uint32_t column = in_group * 4 + (i & 3) + (i < 8 ? 0 : 16);
                A[row][column] = byte(a[lane][i / 4], i % 4, a_signed);
            }
            for (std::uint32_t i = 0; i < 8; ++i) {
                const std::uint32_t row = in_group * 4 + (i & 3) + (i < 4 ? 0 : 16);
                B[row][group] = byte(b[lane][i / 4], i % 4, b_signed);
            }
        }
        for (std::uint32_t lane = 0; lane < 32; ++lane) {
            for (std::uint32_t i = 0; i < 4; ++i) {
                const std::uint32_t row = i < 2 ? lane / 4 : lane / 4 + 8;
                const std::uint32_t column = lane % 4 * 2 + (i & 1);
                std::int64_t sum = c[lane][i];
                for (int k = 0; k < 32; ++k) sum += A[row][k] * B[k][column];
                c[lane][i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(sum));
            }
        }
    }
};

// One warp's 32 x 32 products and bits, by the affinity kernel's index functions.
struct WarpTile {
    std::int32_t products[32][32];
    std::uint32_t row_words[32], column_words[32];
};

WarpTile multiply(const std::int16_t* a_rows, const std::int16_t* b_rows, std::size_t stride,
                  std::int32_t threshold) {
    using namespace cuda;
    std::vector<std::int32_t> sums(3 * kMmaRows * kMmaColumns * 32 * 4, 0);
    const auto sum_at = [&sums](std::uint32_t part, std::uint32_t i, std::uint32_t j) {
        return sums.data() + ((part * kMmaRows + i) * kMmaColumns + j) * 32 * 4;
    };
    const auto load = [stride](const std::int16_t* rows, std::uint32_t row, std::size_t step,
                               std::uint32_t lane) {
        Words words;
        std::memcpy(&words, rows + row * stride + step * kRowStep + lane % 4 * 8, sizeof words);
        return split(words);
    };
    for (std::size_t step = 0; step < stride / kRowStep; ++step) {
        for (std::uint32_t i = 0; i < kMmaRows; ++i) {
            for (std::uint32_t j = 0; j < kMmaColumns; ++j) {
                for (int product = 0; product < 4; ++product) {
                    const bool a_high = product < 2, b_high = product % 2 == 0;
                    Mma mma{};
                    std::int32_t* sum =
                        sum_at(a_high && b_high ? 0 : (a_high || b_high ? 1 : 2), i, j);
                    std::memcpy(mma.c, sum, sizeof mma.c);
                    for (std::uint32_t lane = 0; lane < 32; ++lane) {
                        for (std::uint32_t r = 2 * i; r < 2 * i + 2; ++r) {
                            const LaneHalves a = load(a_rows, operand_row(r, lane), step, lane);
                            for (std::uint32_t k = 0; k < 2; ++k) {
                                mma.a[lane][2 * k + r % 2] = a_high ? a.high[k] : a.low[k];
                            }
                        }
                        const LaneHalves b = load(b_rows, operand_row(j, lane), step, lane);
                        for (std::uint32_t k = 0; k < 2; ++k) {
                            mma.b[lane][k] = b_high ? b.high[k] : b.low[k];
                        }
                    }
                    mma.run(a_high, b_high);
                    std::memcpy(sum, mma.c, sizeof mma.c);
                }
            }
        }
    }
    WarpTile out{};
    std::uint32_t joined[32] = {}, word[32];
    for (std::uint32_t lane = 0; lane < 32; ++lane) {
        for (std::uint32_t i = 0; i < kMmaRows; ++i) {
            for (std::uint32_t j = 0; j < kMmaColumns; ++j) {
                for (std::uint32_t v = 0; v < kMmaValues; ++v) {
                    const std::uint32_t at = lane * 4 + v;
                    const std::int32_t product =
                        combine(sum_at(0, i, j)[at], sum_at(1, i, j)[at], sum_at(2, i, j)[at]);
                    const std::uint32_t row = value_row(i, v, lane),
                                        column = value_column(j, v, lane);
                    out.products[row][column] = product;
                    // The kernel joins a row's four lanes by two shuffles.
                    const std::uint32_t joined_in = lane / 4 * 4 + 2 * i + v / 2;
                    joined[joined_in] |= static_cast<std::uint32_t>(product > threshold) << column;
                }
            }
        }
    }
    for (std::uint32_t lane = 0; lane < 32; ++lane) {
        CHECK(row_of_lane(lane_of_row(lane)) == lane);
        word[lane] = joined[lane_of_row(lane)];
        out.row_words[lane] = word[lane];
    }
    for (std::uint32_t half = 16; half > 0; half /= 2) {
        std::uint32_t next[32];
        for (std::uint32_t lane = 0; lane < 32; ++lane) {
            next[lane] = transpose_step(word[lane], word[lane ^ half], lane, half);
        }
        std::memcpy(word, next, sizeof word);
    }
    std::memcpy(out.column_words, word, sizeof word);
    return out;
}

std::int32_t product_of(const std::int16_t* a, const std::int16_t* b, std::size_t count) {
    std::int64_t sum = 0;
    for (std::size_t k = 0; k < count; ++k) sum += std::int64_t{a[k]} * b[k];
    return static_cast<std::int32_t>(sum);
}

void check_tile(const std::vector<std::int16_t>& a, const std::vector<std::int16_t>& b,
                std::size_t stride, std::int32_t threshold) {
    const WarpTile tile = multiply(a.data(), b.data(), stride, threshold);
    bool equal = true;
    for (std::size_t r = 0; r < 32; ++r) {
        for (std::size_t c = 0; c < 32; ++c) {
            const std::int32_t wanted =
                product_of(a.data() + r * stride, b.data() + c * stride, stride);
            equal =
                equal && tile.products[r][c] == wanted &&
                (tile.row_words[r] >> c & 1) == static_cast<std::uint32_t>(wanted > threshold) &&
                (tile.column_words[c] >> r & 1) == static_cast<std::uint32_t>(wanted > threshold);
        }
    }
    CHECK(equal);
}

// Rows of length 32767 at most, as Q15 rows are; among them the ends of the range.
void test_products() {
    std::mt19937 random(9);
    for (const std::size_t stride : {32, 64, 128}) {
        std::vector<std::int16_t> a(32 * stride), b(32 * stride);
        const int largest = static_cast<int>(32767 / std::sqrt(static_cast<double>(stride)));
        const auto draw = [&] {
            return static_cast<std::int16_t>(static_cast<int>(random() % (2 * largest + 1)) -
                                             largest);
        };
        for (auto& q : a) q = draw();
        for (auto& q : b) q = draw();
        for (std::size_t r = 0; r < 32; r += 3) {
            for (std::size_t k = 0; k < stride; ++k) a[r * stride + k] = b[r * stride + k] = 0;
            a[r * stride + r % stride] = 32767;
            b[r * stride + r % stride] = r % 2 == 0 ? 32767 : -32767;
        }
        for (const std::int32_t threshold : {-107367629, 0, 214735257}) {
            check_tile(a, b, stride, threshold);
        }
    }
    CHECK(cuda::combine(-1, 0, 0) == -65536);
}

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
    test_q15();
    test_high_energy();
    test_products();
    test_tiles();
    test_plan();
    return summary();
}

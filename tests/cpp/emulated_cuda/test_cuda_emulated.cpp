// The whole CUDA backend, kernels and host, on the emulated device, against the CPU's trees, field
// by field and bit by bit.      claid_cuda_emulated_..._test [ROUNDS | full]
// ROUNDS is 1: the usual; more: other seeds. full: only an image of 45 x 60 patches of D = 768.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "check.hpp"
#include "claid/tree.hpp"
#include "cuda/decompose.hpp"
#include "cuda/plan.hpp"
#include "device.hpp"
#include "grid.hpp"
#include "random_features.hpp"
#include "same_tree.hpp"
#include "test_queue.hpp"

namespace claid::test {
namespace {

constexpr Kind kKinds[] = {Kind::blobs, Kind::noise, Kind::ties, Kind::constant, Kind::zeros};
constexpr Grid kGrids[] = {{1, 1}, {1, 2}, {2, 1}, {1, 40}, {40, 1}, {8, 16}, {12, 11}, {16, 19}};
constexpr double kEnergyTops[] = {0.3, 0.0, 0.1, 0.99, 1.0};
constexpr std::size_t kDims[] = {1, 8, 31, 32, 33, 70};

Options options_of(std::uint32_t variant) {
    Options options;
    options.min_patches = variant % 3 == 0 ? 15 : 2 + variant % 5;
    options.seed = variant * 0x9E3779B97F4A7C15;
    options.start = variant % 4 == 3 ? Start::random : Start::seeds;
    options.rules = variant % 5 == 4 ? Rules::released : Rules::paper;
    options.tau = variant % 7 == 6 ? -0.1 : 0.2;
    options.max_passes = variant % 11 == 10 ? 1 : 500;
    options.energy_top = kEnergyTops[variant % 5];
    return options;
}

cuda::FeatureView view_of(const Picture& made) {
    cuda::FeatureView view;
    view.values = made.values.data();
    view.on_host = 1;
    view.dims = made.dims;
    view.grid = made.grid;
    view.row_stride = static_cast<std::int64_t>(made.dims);
    return view;
}

// Features that float16 and bfloat16 hold exactly, so that all types must give one tree.
void make_exact(Picture& made) {
    for (float& x : made.values) x = std::round(std::fmax(-7.F, std::fmin(7.F, x)) * 8) / 8;
}

std::uint16_t to_bfloat16(float x) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &x, sizeof bits);
    return static_cast<std::uint16_t>(bits >> 16);
}
std::uint16_t to_float16(float x) {
    if (x == 0) return 0;
    if (std::isnan(x)) return 0x7E00;
    if (std::isinf(x)) return x < 0 ? 0xFC00 : 0x7C00;
    int exponent = 0;
    const float fraction = std::frexp(std::fabs(x), &exponent);  // in [1/2, 1)
    const auto digits = static_cast<unsigned>(fraction * 2048) & 1023U;
    return static_cast<std::uint16_t>((x < 0 ? 0x8000U : 0U) |
                                      static_cast<unsigned>(exponent + 14) << 10 | digits);
}

void put(std::byte* to, cuda::Real type, float x) {
    const double wide = x;
    const std::uint16_t half = type == cuda::Real::bfloat16 ? to_bfloat16(x) : to_float16(x);
    switch (type) {
        case cuda::Real::float64:
            return void(std::memcpy(to, &wide, sizeof wide));
        case cuda::Real::float32:
            return void(std::memcpy(to, &x, sizeof x));
        default:
            return void(std::memcpy(to, &half, sizeof half));
    }
}

// Features in the device's memory, of any type, rows or columns apart.
class OnDevice {
  public:
    OnDevice(const Picture& made, cuda::Real type, bool transposed) {
        const std::size_t patches = made.grid.patches(), size = cuda::size_of(type);
        const std::size_t row = transposed ? 1 : made.dims + 3, column = transposed ? patches : 1;
        std::vector<std::byte> bytes((patches + 1) * (made.dims + 3) * size);
        for (std::size_t p = 0; p < patches; ++p) {
            for (std::size_t k = 0; k < made.dims; ++k) {
                put(&bytes[(p * row + k * column) * size], type, made.values[p * made.dims + k]);
            }
        }
        memory_ = emulated::upload(bytes.data(), bytes.size());
        view_ = view_of(made);
        view_.values = memory_;
        view_.type = type;
        view_.on_host = 0;
        view_.row_stride = static_cast<std::int64_t>(row);
        view_.column_stride = static_cast<std::int64_t>(column);
    }
    ~OnDevice() { emulated::release(memory_); }
    OnDevice(const OnDevice&) = delete;
    OnDevice& operator=(const OnDevice&) = delete;
    [[nodiscard]] const cuda::FeatureView& view() const { return view_; }

  private:
    void* memory_;
    cuda::FeatureView view_;
};

std::vector<RegionTree> on_cpu(const std::vector<Picture>& pictures, const Options& options) {
    std::vector<RegionTree> trees;
    for (const Picture& made : pictures) {
        trees.push_back(decompose(made.features(), options, *scalar_kernels(), 1));
    }
    return trees;
}

bool all_same(const std::vector<RegionTree>& a, const std::vector<RegionTree>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](const RegionTree& x, const RegionTree& y) { return same(x, y); });
}

std::vector<cuda::FeatureView> views_of(const std::vector<Picture>& pictures) {
    std::vector<cuda::FeatureView> views;
    for (const Picture& made : pictures) views.push_back(view_of(made));
    return views;
}

// True where the device finds the CPU's trees.
bool agrees(const std::vector<Picture>& pictures, const Options& options) {
    try {
        return all_same(on_cpu(pictures, options),
                        cuda::decompose(views_of(pictures), options, {}));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return false;
    }
}

void test_every_kind(std::uint32_t round) {
    std::uint32_t variant = round * 1000;
    for (const Kind kind : kKinds) {
        std::vector<Picture> batch;  // of mixed sizes
        for (const Grid grid : kGrids) {
            ++variant;
            batch.push_back(picture(kind, grid, kDims[variant % 6], variant));
        }
        CHECK(agrees(batch, options_of(variant)));
    }
    for (std::uint32_t i = 0; i < 6; ++i) {
        ++variant;
        CHECK(agrees({picture(kKinds[i % 5], {9, 14}, 40, variant)}, options_of(variant)));
    }
}

void test_types() {
    using cuda::Real;
    Picture made = picture(Kind::blobs, {10, 13}, 37, 3);
    make_exact(made);
    const Options options = options_of(1);
    const std::vector<RegionTree> wanted = on_cpu({made}, options);
    for (const Real type : {Real::float16, Real::bfloat16, Real::float32, Real::float64}) {
        for (const bool transposed : {false, true}) {
            const OnDevice features(made, type, transposed);
            CHECK(all_same(wanted, cuda::decompose({&features.view(), 1}, options, {})));
        }
    }
}

// Groups, rows computed anew, scratch outside shared memory, and too little of it all.
void test_small_devices() {
    std::vector<Picture> batch;
    for (std::uint32_t i = 0; i < 5; ++i) {
        batch.push_back(picture(kKinds[i], {9, 12 + static_cast<std::int32_t>(i)}, 33, i));
    }
    const Options options = options_of(2);
    const emulated::Device ordinary = emulated::device();
    emulated::device().shared_bytes = 2000;
    CHECK(agrees(batch, options));
    emulated::device().shared_bytes = ordinary.shared_bytes;
    std::size_t failures = 0;
    for (std::size_t kibibytes = 64; kibibytes <= 4096; kibibytes *= 2) {
        emulated::device().memory_bytes = kibibytes << 10;
        try {
            const auto found = cuda::decompose(views_of(batch), options, {});
            CHECK(all_same(on_cpu(batch, options), found));
        } catch (const cuda::OutOfMemoryError& error) {
            ++failures;
            CHECK(std::strstr(error.what(), "MiB") != nullptr);
        }
        CHECK(emulated::allocated_bytes() == 0);
    }
    CHECK(failures > 0 && failures < 6);
    emulated::device() = ordinary;
}

// What the error says that the whole and the half of the batch need is enough, and a byte less not.
void test_out_of_memory_says_what_is_needed() {
    std::vector<Picture> batch;
    for (std::int32_t i = 0; i < 3; ++i) {
        batch.push_back(picture(Kind::constant, {9, 10 - i}, 16, 1));
    }
    const emulated::Device ordinary = emulated::device();
    const auto fails_with = [&](std::size_t images, std::size_t memory) {
        emulated::device().memory_bytes = memory;
        std::pair<std::size_t, std::size_t> said{0, 0};
        try {
            const std::vector<Picture> part(batch.begin(),
                                            batch.begin() + static_cast<std::ptrdiff_t>(images));
            CHECK(all_same(on_cpu(part, {}), cuda::decompose(views_of(part), {}, {})));
        } catch (const cuda::OutOfMemoryError& error) {
            said = {error.needs, error.half_needs};
        }
        return said;
    };
    for (const std::size_t shared_bytes : {ordinary.shared_bytes, std::size_t{2000}}) {
        emulated::device().shared_bytes = shared_bytes;
        const auto [whole, half] = fails_with(3, 1);
        CHECK(0 < half && half < whole);
        CHECK(fails_with(3, whole - 1).first == whole);
        CHECK(fails_with(3, whole).first == 0);
        CHECK(fails_with(1, half - 1) == std::pair(half, std::size_t{0}));
        CHECK(fails_with(1, half).first == 0);
    }
    emulated::device() = ordinary;
}

// A line of patches falls into more regions than there is room for at first: the work is done
// again with more.
void test_overflow(std::uint32_t seeds) {
    constexpr std::uint64_t kOneRun = 5;  // launches
    Options options;
    options.min_patches = 2;
    options.connectivity = 1.0;
    for (std::uint32_t seed = 0; seed < seeds; ++seed) {
        emulated::set_seed(seed);
        const std::uint64_t before = emulated::launches();
        CHECK(agrees({picture(Kind::noise, {1, 600}, 8, 2 * seed),
                      picture(Kind::noise, {700, 1}, 8, 2 * seed + 1)},
                     options));
        CHECK(emulated::launches() - before == 2 * kOneRun);
    }
}

// A line whose tree is as deep as it has pairs: each bisection, made without sweeps, takes off the
// first pair that is left, so that the regions hold far more members than patches. A pair is linked
// to the rest and to itself, and not to other pairs.
Picture onion(std::int32_t pairs, std::int32_t rest) {
    const auto dims = static_cast<std::size_t>(pairs) + 1;
    Picture out{{1, 2 * pairs + rest}, dims, {}};
    out.values.assign(out.grid.patches() * dims, 0.0F);
    for (std::size_t p = 0; p < out.grid.patches(); ++p) {
        float* const x = &out.values[p * dims];
        const bool in_pair = p < 2 * static_cast<std::size_t>(pairs);
        x[0] = in_pair ? 0.4F : 1.0F;
        if (in_pair) x[1 + p / 2] = std::sqrt(1 - x[0] * x[0]);
    }
    return out;
}

// Room for members runs out while there is room for records.
void test_member_overflow() {
    constexpr std::uint64_t kOneRun = 5;  // launches
    Options options;
    options.min_patches = 2;
    options.max_passes = 0;
    options.connectivity = 1.0;
    const std::vector<Picture> pictures = {onion(45, 45)};
    const std::vector<RegionTree> wanted = on_cpu(pictures, options);
    const cuda::Capacity room = cuda::capacity(views_of(pictures), 1);
    CHECK(wanted[0].members.size() > room.members);
    CHECK(wanted[0].regions.size() + 1 < room.records);
    const std::uint64_t before = emulated::launches();
    CHECK(agrees(pictures, options));
    CHECK(emulated::launches() - before == 2 * kOneRun);
}

void test_timing() {
    const std::vector<Picture> batch = {picture(Kind::blobs, {9, 14}, 40, 1),
                                        picture(Kind::noise, {7, 9}, 40, 2)};
    const Options options = options_of(1);
    const std::vector<RegionTree> wanted = on_cpu(batch, options);
    cuda::Timing timing;
    CHECK(all_same(wanted, cuda::decompose(views_of(batch), options, {}, &timing)));
    CHECK(timing.quantise > 0 && timing.affinity > 0 && timing.tree > 0);
    CHECK(0 < timing.sweeps && timing.sweeps < timing.busy);
    const auto moves = static_cast<std::uint64_t>(wanted[0].moves + wanted[1].moves);
    const auto cuts = static_cast<std::uint64_t>(wanted[0].cuts + wanted[1].cuts);
    CHECK(timing.products > timing.moves);
    CHECK(timing.moves == moves && timing.rounds >= moves + cuts);
}

bool same_number(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

// Read back from the device, in each type.
void test_not_finite_on_device() {
    using cuda::Real;
    for (const Real type : {Real::float16, Real::bfloat16, Real::float32, Real::float64}) {
        for (const float wrong : {INFINITY, -INFINITY, NAN}) {
            Picture made = picture(Kind::blobs, {7, 9}, 20, 1);
            make_exact(made);
            made.values[20 * 40 + 3] = wrong;
            const OnDevice features(made, type, type == Real::float32);
            bool thrown = false;
            try {
                cuda::decompose({&features.view(), 1}, {}, {});
            } catch (const NotFiniteError& error) {
                thrown = error.image == 0 && error.row == 40 && error.column == 3 &&
                         same_number(error.value, wrong);
            }
            CHECK(thrown);
        }
    }
}

void test_not_finite() {
    for (const float wrong : {INFINITY, -INFINITY, NAN}) {
        std::vector<Picture> batch = {picture(Kind::blobs, {7, 9}, 20, 1),
                                      picture(Kind::noise, {12, 12}, 33, 2)};
        batch[1].values[33 * 100 + 31] = wrong;
        batch[1].values[33 * 100 + 32] = wrong;
        batch[1].values[33 * 131] = wrong;
        bool thrown = false;
        try {
            cuda::decompose(views_of(batch), {}, {});
        } catch (const NotFiniteError& error) {
            thrown = error.image == 1 && error.row == 100 && error.column == 31 &&
                     same_number(error.value, wrong);
        }
        CHECK(thrown);
        batch[1].values.assign(batch[1].values.size(), 1.0F);
        CHECK(agrees(batch, {}));
    }
}

// Each call of the runtime fails in turn: an error, nothing leaked, and the next batch is right.
void test_failing_calls(bool timed) {
    const std::vector<Picture> batch = {picture(Kind::blobs, {5, 6}, 16, 1)};
    const Options options = options_of(1);
    const std::vector<RegionTree> wanted = on_cpu(batch, options);
    cuda::Timing timing;
    int unnoticed = 0;
    for (std::uint64_t n = 1;; ++n) {
        emulated::fail_call(n);
        bool thrown = false;
        try {
            CHECK(all_same(
                wanted, cuda::decompose(views_of(batch), options, {}, timed ? &timing : nullptr)));
        } catch (const cuda::CudaError&) {
            thrown = true;
        }
        const bool came = emulated::call_failed();
        emulated::fail_call(0);
        CHECK(emulated::allocated_bytes() == 0);
        CHECK(all_same(wanted, cuda::decompose(views_of(batch), options, {})));
        if (!came) break;
        if (!thrown) ++unnoticed;
    }
    CHECK(unnoticed == 1);  // going back to the device before, in a destructor
}

void test_full_size() { CHECK(agrees({picture(Kind::blobs, {45, 60}, 768, 1)}, {})); }

}  // namespace
}  // namespace claid::test

int main(int argc, char** argv) {
    using namespace claid::test;
    if (argc > 1 && std::strcmp(argv[1], "full") == 0) {
        test_full_size();
        return summary();
    }
    const auto rounds = static_cast<std::uint32_t>(argc > 1 ? std::atoi(argv[1]) : 1);
    for (std::uint32_t round = 0; round < rounds; ++round) {
        emulated::set_seed(round + 1);
        test_every_kind(round);
    }
    test_types();
    test_small_devices();
    test_not_finite();
    test_not_finite_on_device();
    test_failing_calls(rounds > 0);
    test_overflow(rounds);
    test_numbers_never_published();
    if (rounds == 0) return summary();
    test_timing();
    test_out_of_memory_says_what_is_needed();
    test_member_overflow();
    return summary();
}

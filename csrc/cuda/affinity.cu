// The affinity matrix (Eq. 5) on the int8 tensor cores: products, compared and packed to bits as
// they leave the accumulators. Half the tiles are computed, the other half is their transpose.
#include "cuda/affinity.cuh"
#include "cuda/kernels.hpp"
#include "cuda/launch.cuh"
#include "cuda/ptx.cuh"

namespace claid::cuda {
namespace {

constexpr std::uint32_t kWarpsAcross = kTile / kWarpTile;
constexpr std::uint32_t kThreads = 32 * kWarpsAcross * kWarpsAcross;
constexpr std::uint32_t kPieces = kRowStep / 8;  // of eight int16, in a row of a step
constexpr std::uint32_t kStages = 3;
constexpr unsigned kWarp = 0xFFFFFFFF;

// Rows of 64 bytes, so that the eight lanes of a quarter warp, two rows of four pieces, read all
// 32 banks once.
using StepRows = Words[kTile][kPieces];

// Copies to shared memory that go on while others are worked on; where the device has none, they
// are done at once.
__device__ void copy_async(Words& to, const Words& from) {
#if __CUDA_ARCH__ >= 800
    copy_async_16(&to, &from);
#else
    to = from;
#endif
}
__device__ void end_of_stage() {
#if __CUDA_ARCH__ >= 800
    end_copy_group();
#endif
}
// Waits until at most the newest stage is still on its way.
__device__ void wait_for_stage() {
#if __CUDA_ARCH__ >= 800
    wait_for_copy_groups<1>();
#endif
}

// sum += A B for 16 x 32 bytes by 32 x 8. Before compute capability 8.0 in four parts, whose lanes
// hold the same elements.
template <Bytes kA, Bytes kB>
__device__ void mma(std::int32_t (&sum)[kMmaValues], const std::uint32_t (&a)[4],
                    const std::uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    mma_16x8x32<kA, kB>(sum, a, b);
#else
    for (int half = 0; half < 2; ++half) {
        for (int k = 0; k < 2; ++k) {
            mma_8x8x16<kA, kB>(sum[2 * half], sum[2 * half + 1], a[2 * k + half], b[k]);
        }
    }
#endif
}

// The sums of a warp tile, by mma tile and lane.
struct Sums {
    std::int32_t high[kMmaRows][kMmaColumns][kMmaValues] = {};    // h.h'
    std::int32_t middle[kMmaRows][kMmaColumns][kMmaValues] = {};  // h.l' + l.h'
    std::int32_t low[kMmaRows][kMmaColumns][kMmaValues] = {};     // l.l'
};

__device__ void multiply_step(const StepRows& a_rows, const StepRows& b_rows, std::uint32_t first_a,
                              std::uint32_t first_b, std::uint32_t lane, Sums& sums) {
    std::uint32_t a_high[kMmaRows][4], a_low[kMmaRows][4];
#pragma unroll
    for (std::uint32_t r = 0; r < 2 * kMmaRows; ++r) {
        const LaneHalves halves = split(a_rows[first_a + operand_row(r, lane)][lane % kPieces]);
#pragma unroll
        for (std::uint32_t k = 0; k < 2; ++k) {
            a_high[r / 2][2 * k + r % 2] = halves.high[k];
            a_low[r / 2][2 * k + r % 2] = halves.low[k];
        }
    }
#pragma unroll
    for (std::uint32_t j = 0; j < kMmaColumns; ++j) {
        const LaneHalves b = split(b_rows[first_b + operand_row(j, lane)][lane % kPieces]);
#pragma unroll
        for (std::uint32_t i = 0; i < kMmaRows; ++i) {
            mma<Bytes::s8, Bytes::s8>(sums.high[i][j], a_high[i], b.high);
            mma<Bytes::s8, Bytes::u8>(sums.middle[i][j], a_high[i], b.low);
            mma<Bytes::u8, Bytes::s8>(sums.middle[i][j], a_low[i], b.high);
            mma<Bytes::u8, Bytes::u8>(sums.low[i][j], a_low[i], b.low);
        }
    }
}

class TileResult {
  public:
    __device__ TileResult(const Image& image, std::uint32_t first_row, std::uint32_t first_column,
                          bool on_diagonal, std::int32_t threshold)
        : image_(image),
          first_row_(first_row),
          first_column_(first_column),
          lane_(threadIdx.x % 32),
          on_diagonal_(on_diagonal),
          threshold_(threshold) {}

    // Keeps the products where there is room for them, and the bits.
    __device__ void store(const Sums& sums) const {
        std::uint32_t rows[4] = {0, 0, 0, 0};  // of each group of eight, this lane's bits
#pragma unroll
        for (std::uint32_t i = 0; i < kMmaRows; ++i) {
#pragma unroll
            for (std::uint32_t j = 0; j < kMmaColumns; ++j) {
#pragma unroll
                for (std::uint32_t v = 0; v < kMmaValues; v += 2) {
                    const std::int32_t first =
                        combine(sums.high[i][j][v], sums.middle[i][j][v], sums.low[i][j][v]);
                    const std::int32_t second = combine(
                        sums.high[i][j][v + 1], sums.middle[i][j][v + 1], sums.low[i][j][v + 1]);
                    const std::uint32_t row = value_row(i, v, lane_);
                    const std::uint32_t column = value_column(j, v, lane_);
                    keep(first_row_ + row, first_column_ + column, first, second);
                    rows[2 * i + v / 2] |=
                        static_cast<std::uint32_t>(first > threshold_) << column |
                        static_cast<std::uint32_t>(second > threshold_) << (column + 1);
                }
            }
        }
        store_bits(join(rows));
    }

  private:
    __device__ void keep(std::uint32_t row, std::uint32_t column, std::int32_t first,
                         std::int32_t second) const {
        if (image_.products == nullptr) return;
        const std::uint64_t padded = image_.padded;
        *reinterpret_cast<int2*>(image_.products + row * padded + column) =
            make_int2(first, second);
        if (on_diagonal_) return;
        image_.products[column * padded + row] = first;
        image_.products[(column + 1) * padded + row] = second;
    }

    // The word of row row_of_lane(lane).
    [[nodiscard]] __device__ std::uint32_t join(std::uint32_t (&rows)[4]) const {
#pragma unroll
        for (std::uint32_t group = 0; group < 4; ++group) {
            rows[group] |= __shfl_xor_sync(kWarp, rows[group], 1);
            rows[group] |= __shfl_xor_sync(kWarp, rows[group], 2);
        }
        const std::uint32_t even = lane_ % 4 < 2 ? rows[0] : rows[2];
        const std::uint32_t odd = lane_ % 4 < 2 ? rows[1] : rows[3];
        return lane_ % 2 == 0 ? even : odd;
    }

    __device__ void store_bits(std::uint32_t word) const {
        word = __shfl_sync(kWarp, word, static_cast<int>(lane_of_row(lane_)));  // now of row `lane`
        const std::uint32_t row = first_row_ + lane_;
        std::uint32_t kept = word & patches_in_word(first_column_, image_.patches);
        if (first_row_ == first_column_) kept &= ~(1U << lane_);  // i != j
        link_word(row, first_column_) = row < image_.patches ? kept : 0;
        if (on_diagonal_) return;
#pragma unroll
        for (std::uint32_t half = 16; half > 0; half /= 2) {
            const std::uint32_t other = __shfl_xor_sync(kWarp, word, static_cast<int>(half));
            word = transpose_step(word, other, lane_, half);
        }
        const std::uint32_t column = first_column_ + lane_;
        kept = word & patches_in_word(first_row_, image_.patches);
        link_word(column, first_row_) = column < image_.patches ? kept : 0;
    }

    [[nodiscard]] __device__ std::uint32_t& link_word(std::uint32_t row,
                                                      std::uint32_t column) const {
        return image_.links[std::uint64_t{row} * image_.words() + column / kLinkBits];
    }

    const Image& image_;
    std::uint32_t first_row_, first_column_, lane_;
    bool on_diagonal_;
    std::int32_t threshold_;
};

__global__ void __launch_bounds__(kThreads, 1)
    affinity_kernel(const Image* images, std::uint32_t first, std::int32_t threshold) {
    __shared__ StepRows a_rows[kStages], b_rows[kStages];
    const Image& image = images[first + blockIdx.y];
    if (blockIdx.x >= tile_count(image.padded / kTile)) return;
    const TilePlace tile = tile_place(blockIdx.x);

    const std::uint32_t steps = image.stride / kRowStep;
    const std::uint32_t row = threadIdx.x / kPieces, piece = threadIdx.x % kPieces;
    static_assert(kThreads == kTile * kPieces);
    const auto* const rows = reinterpret_cast<const Words*>(image.rows);
    const std::uint64_t row_pieces = image.stride / 8;
    const Words* const a_from = rows + (tile.row * kTile + row) * row_pieces + piece;
    const Words* const b_from = rows + (tile.column * kTile + row) * row_pieces + piece;
    const auto fetch = [&](std::uint32_t step) {
        if (step < steps) {
            copy_async(a_rows[step % kStages][row][piece], a_from[step * kPieces]);
            copy_async(b_rows[step % kStages][row][piece], b_from[step * kPieces]);
        }
        end_of_stage();
    };

    const std::uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const std::uint32_t first_a = warp / kWarpsAcross * kWarpTile;
    const std::uint32_t first_b = warp % kWarpsAcross * kWarpTile;
    Sums sums;
    fetch(0);
    fetch(1);
    for (std::uint32_t step = 0; step < steps; ++step) {
        wait_for_stage();
        // After it, every thread's copies of this step are seen, and the step before is done with.
        __syncthreads();
        fetch(step + 2);
        const std::uint32_t stage = step % kStages;
        multiply_step(a_rows[stage], b_rows[stage], first_a, first_b, lane, sums);
    }
    TileResult(image, tile.row * kTile + first_a, tile.column * kTile + first_b,
               tile.row == tile.column, threshold)
        .store(sums);
}

}  // namespace

void launch_affinity(const Group& group, std::int32_t threshold, cudaStream_t stream) {
    const dim3 blocks(tile_count(group.most_padded / kTile), group.count);
    launch("affinity_kernel", affinity_kernel, {blocks, kThreads}, stream, group.images,
           group.first, threshold);
}

}  // namespace claid::cuda

// AMX: 16 x 16 tiles of int32 sums, 16384 multiply-adds of int8 an instruction (tdpbssd). The rest
// is AVX-512 with VNNI.
#include "claid/simd/avx512vnni_isa.hpp"

namespace claid {
namespace {

constexpr int kSide = 16;  // rows and columns of a tile
constexpr int kRows = 2 * kSide, kColumns = 2 * kSide;
constexpr std::size_t kDepth = 64;  // int8 in a row of a tile

// Palette 1: up to eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileConfig {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {};
    std::uint8_t rows[16] = {};
};
constexpr TileConfig tile_config() {
    TileConfig config;
    for (int t = 0; t < 8; ++t) {
        config.row_bytes[t] = kDepth;
        config.rows[t] = kSide;
    }
    return config;
}
constexpr TileConfig kTileConfig = tile_config();

int tile(const std::int8_t* rows, std::size_t stride, const std::int8_t* column_panel,
         const FilterRow* bounds, FilterColumns columns, std::uint32_t* linked,
         std::uint32_t* undecided) {
    // Products of the rows' halves (tiles 4, 5) and the columns' (6, 7): tiles 0 to 3.
    constexpr std::size_t kPanelRow = 4 * kColumns;
    alignas(64) std::int32_t sums[2][2][kSide][kSide];
    _tile_loadconfig(&kTileConfig);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (std::size_t k = 0; k < stride; k += kDepth, column_panel += kSide * kPanelRow) {
        _tile_loadd(6, column_panel, kPanelRow);
        _tile_loadd(7, column_panel + 4 * kSide, kPanelRow);
        _tile_loadd(4, rows + k, stride);
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        _tile_loadd(5, rows + kSide * stride + k, stride);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
    }
    constexpr std::size_t kSumsRow = kSide * sizeof(std::int32_t);
    _tile_stored(0, sums[0][0], kSumsRow);
    _tile_stored(1, sums[0][1], kSumsRow);
    _tile_stored(2, sums[1][0], kSumsRow);
    _tile_stored(3, sums[1][1], kSumsRow);
    _tile_release();

    int open = 0;
    for (int r = 0; r < kRows; ++r) {
        FilterBits bits = {0, 0};
        for (int half = 0; half < 2; ++half) {
            const FilterBits part = Vnni512Filter::decide(
                _mm512_load_si512(sums[r / kSide][half][r % kSide]), bounds[r],
                columns.unit + kSide * half, columns.reach + kSide * half);
            bits.above |= part.above << (kSide * half);
            bits.not_below |= part.not_below << (kSide * half);
        }
        linked[r] = bits.above;
        undecided[r] = bits.not_below & ~bits.above;
        open += __builtin_popcount(undecided[r]);
    }
    return open;
}

constexpr FilterKernels kFilter = {kRows,
                                   Vnni512Filter::kSpeed,
                                   Vnni512Filter::kMost,
                                   &to_int8<Vnni512Filter>,
                                   &pack_int8_panel<kColumns, 0>,
                                   &tile};
constexpr Kernels kKernels = kernels_of<Avx512<DotAccumulate>>("amx", &kFilter);
static_assert(kKernels.tile_columns == kColumns);

}  // namespace

const Kernels* amx_kernels() { return &kKernels; }

}  // namespace claid

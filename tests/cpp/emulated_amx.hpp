// AMX's tiles in plain C++, in place of the compiler's intrinsics: amx.cpp runs on processors
// without them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace claid::test {

struct EmulatedTiles {
    static constexpr int kTiles = 8, kRows = 16, kRowBytes = 64;
    bool configured = false;
    std::uint8_t bytes[kTiles][kRows][kRowBytes];
};
inline thread_local EmulatedTiles tiles;

inline void load_config(const void* config) {
    // Palette 1 in byte 0; from byte 16 the bytes of each tile's rows, from byte 48 their number.
    const auto* at = static_cast<const std::uint8_t*>(config);
    tiles.configured = at[0] == 1;
    for (int t = 0; t < EmulatedTiles::kTiles; ++t) {
        std::uint16_t row_bytes = 0;
        std::memcpy(&row_bytes, at + 16 + 2 * t, sizeof row_bytes);
        tiles.configured = tiles.configured && row_bytes == EmulatedTiles::kRowBytes &&
                           at[48 + t] == EmulatedTiles::kRows;
    }
    if (!tiles.configured) __builtin_trap();
    std::memset(tiles.bytes, 0, sizeof tiles.bytes);
}

inline void release() { tiles.configured = false; }

inline void zero(int tile) {
    if (!tiles.configured) __builtin_trap();
    std::memset(tiles.bytes[tile], 0, sizeof tiles.bytes[tile]);
}

inline void load(int tile, const void* from, std::size_t stride) {
    if (!tiles.configured) __builtin_trap();
    for (int r = 0; r < EmulatedTiles::kRows; ++r) {
        std::memcpy(tiles.bytes[tile][r],
                    static_cast<const std::uint8_t*>(from) + static_cast<std::size_t>(r) * stride,
                    EmulatedTiles::kRowBytes);
    }
}

inline void store(int tile, void* to, std::size_t stride) {
    if (!tiles.configured) __builtin_trap();
    for (int r = 0; r < EmulatedTiles::kRows; ++r) {
        std::memcpy(static_cast<std::uint8_t*>(to) + static_cast<std::size_t>(r) * stride,
                    tiles.bytes[tile][r], EmulatedTiles::kRowBytes);
    }
}

// sums[m][n] += rows[m][4 k + i] * columns[k][4 n + i], all signed.
inline void dot_signed(int sums, int rows, int columns) {
    if (!tiles.configured) __builtin_trap();
    const auto element = [](int tile, int r, int byte) {
        return static_cast<std::int8_t>(tiles.bytes[tile][r][byte]);
    };
    for (int m = 0; m < 16; ++m) {
        for (int n = 0; n < 16; ++n) {
            std::int32_t sum = 0;
            std::memcpy(&sum, tiles.bytes[sums][m] + 4 * n, sizeof sum);
            for (int k = 0; k < 16; ++k) {
                for (int i = 0; i < 4; ++i) {
                    sum += element(rows, m, 4 * k + i) * element(columns, k, 4 * n + i);
                }
            }
            std::memcpy(tiles.bytes[sums][m] + 4 * n, &sum, sizeof sum);
        }
    }
}

}  // namespace claid::test

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbssd
#define _tile_loadconfig(config) claid::test::load_config(config)
#define _tile_release() claid::test::release()
#define _tile_zero(tile) claid::test::zero(tile)
#define _tile_loadd(tile, from, stride) claid::test::load(tile, from, stride)
#define _tile_stored(tile, to, stride) claid::test::store(tile, to, stride)
#define _tile_dpbssd(sums, rows, columns) claid::test::dot_signed(sums, rows, columns)

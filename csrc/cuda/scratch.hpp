// How much memory the Scratch of node.cuh takes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/image.hpp"

namespace claid::cuda {

constexpr std::size_t scratch_bytes(std::size_t padded, std::size_t stride, bool products_kept) {
    const std::size_t row = products_kept ? 0 : padded * sizeof(std::int32_t);
    return padded * (sizeof(std::int64_t) + sizeof(std::int32_t)) + stride * sizeof(std::int32_t) +
           row + 2 * (padded / kLinkBits) * sizeof(std::uint32_t) +
           padded * (sizeof(std::uint32_t) + 2 * sizeof(std::uint16_t));
}

}  // namespace claid::cuda

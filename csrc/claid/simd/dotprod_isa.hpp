// The int8 filter of NEON: rows, comparisons, and the tile by dot products.
#pragma once

#include "claid/simd/filter_impl.hpp"
#include "claid/simd/neon_isa.hpp"

namespace claid {
namespace {

struct DotFilter {
    using Vec = int8x16_t;
    using Acc = int32x4_t;
    static constexpr int kColumns = 4, kRows = 8, kVecs = 2;
    static constexpr int kMost = 127, kOffset = 0, kSteps = 1;
    static constexpr double kSpeed = 2.0;

    static Vec load(const std::int8_t* p, std::size_t) { return vld1q_s8(p); }
    static Vec broadcast(const std::int8_t* p) {
        std::int32_t four;
        std::memcpy(&four, p, sizeof four);
        return vreinterpretq_s8_s32(vdupq_n_s32(four));
    }
    static Acc start(std::int32_t) { return vdupq_n_s32(0); }
    static Acc multiply_add(Acc acc, Vec row, Vec column) { return vdotq_s32(acc, row, column); }
    static int32x4_t widen(const std::int16_t* a, const std::int16_t* b) {
        return vmull_s16(vld1_s16(a), vld1_s16(b));
    }
    static void narrow(std::int8_t* to, float32x4_t bits) {
        const int16x4_t half = vmovn_s32(vreinterpretq_s32_f32(bits));
        const int8x8_t bytes = vmovn_s16(vcombine_s16(half, half));
        vst1_lane_s32(reinterpret_cast<std::int32_t*>(to), vreinterpret_s32_s8(bytes), 0);
    }
    static FilterBits decide(Acc acc, const FilterRow& row, const float* unit, const float* reach) {
        const float32x4_t product = vcvtq_f32_s32(acc), units = vld1q_f32(unit);
        const float32x4_t width = vmulq_n_f32(vld1q_f32(reach), row.unit);
        const float32x4_t high = vaddq_f32(vmulq_n_f32(units, row.above), width);
        const float32x4_t low = vsubq_f32(vmulq_n_f32(units, row.below), width);
        return {bits(vcgtq_f32(product, high)), bits(vcgtq_f32(product, low))};
    }

  private:
    static std::uint32_t bits(uint32x4_t mask) {
        const std::uint32_t weights[4] = {1, 2, 4, 8};
        return vaddvq_u32(vandq_u32(mask, vld1q_u32(weights)));
    }
};

}  // namespace
}  // namespace claid

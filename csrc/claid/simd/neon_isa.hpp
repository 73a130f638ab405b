// NEON vectors (aarch64): even and odd products are summed apart and joined at the end.
#pragma once

#include <arm_neon.h>

#include "claid/simd/kernels_impl.hpp"

namespace claid {
namespace {

struct Neon {
    using Vec = int16x8_t;
    struct Acc {
        int32x4_t low, high;
    };
    static constexpr int kColumns = 4, kRows = 4, kVecs = 2, kDoubles = 2;

    static Vec load(const std::int16_t* p) { return vld1q_s16(p); }
    static Vec broadcast_pair(const std::int16_t* p) {
        std::int32_t pair;
        std::memcpy(&pair, p, sizeof pair);
        return vreinterpretq_s16_s32(vdupq_n_s32(pair));
    }
    static Acc zero() { return {vdupq_n_s32(0), vdupq_n_s32(0)}; }
    static Acc multiply_add(Acc acc, Vec a, Vec b) {
        return {vmlal_s16(acc.low, vget_low_s16(a), vget_low_s16(b)),
                vmlal_high_s16(acc.high, a, b)};
    }
    static std::uint32_t greater(Acc acc, std::int32_t threshold) {
        const int32x4_t sums = vpaddq_s32(acc.low, acc.high);
        const uint32x4_t above = vcgtq_s32(sums, vdupq_n_s32(threshold));
        const std::uint32_t weights[4] = {1, 2, 4, 8};
        return vaddvq_u32(vandq_u32(above, vld1q_u32(weights)));
    }
    static void raise(std::int32_t* numbers, Acc acc, std::int32_t label) {
        const int32x4_t rounded =
            vandq_s32(vpaddq_s32(acc.low, acc.high), vdupq_n_s32(~kMatchMask));
        const int32x4_t labelled = vorrq_s32(rounded, vdupq_n_s32(label));
        vst1q_s32(numbers, vmaxq_s32(vld1q_s32(numbers), labelled));
    }
    static std::int32_t sum(Acc acc) { return vaddvq_s32(vaddq_s32(acc.low, acc.high)); }
    static void sums(const Acc (&acc)[kVisitBatch], std::int32_t* out) {
        int32x4_t joined[kVisitBatch];
        for (std::size_t j = 0; j < kVisitBatch; ++j)
            joined[j] = vaddq_s32(acc[j].low, acc[j].high);
        vst1q_s32(out,
                  vpaddq_s32(vpaddq_s32(joined[0], joined[1]), vpaddq_s32(joined[2], joined[3])));
    }
};

}  // namespace
}  // namespace claid

// NEON (aarch64): 4 multiply-adds an instruction.
#include <arm_neon.h>

#include "claid/simd/box_kernels_impl.hpp"

namespace claid {
namespace {

struct Neon {
    using Vec = float32x4_t;
    static constexpr std::size_t kWidth = 4;

    static Vec load(const float* p) { return vld1q_f32(p); }
    static void store(float* p, Vec v) { vst1q_f32(p, v); }
    static Vec broadcast(float x) { return vdupq_n_f32(x); }
    static Vec zero() { return vdupq_n_f32(0.0F); }
    static Vec add(Vec a, Vec b) { return vaddq_f32(a, b); }
    static Vec sub(Vec a, Vec b) { return vsubq_f32(a, b); }
    static Vec mul(Vec a, Vec b) { return vmulq_f32(a, b); }
    static Vec div(Vec a, Vec b) { return vdivq_f32(a, b); }
    static Vec min(Vec a, Vec b) { return vminq_f32(a, b); }
    static Vec max(Vec a, Vec b) { return vmaxq_f32(a, b); }
    static Vec sqrt(Vec a) { return vsqrtq_f32(a); }
    static Vec multiply_add(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
    static float sum(Vec v) { return vaddvq_f32(v); }
    static float highest(Vec v) { return vmaxvq_f32(v); }
};

constexpr BoxKernels kKernels = box_kernels_of<Neon>();

}  // namespace

const BoxKernels* neon_box_kernels() { return &kKernels; }

}  // namespace claid

// NEON (aarch64): 4 multiply-adds an instruction (smlal).
#include "claid/simd/neon_isa.hpp"

namespace claid {
namespace {

constexpr Kernels kKernels = kernels_of<Neon>("neon");

}  // namespace

const Kernels* neon_kernels() { return &kKernels; }

}  // namespace claid

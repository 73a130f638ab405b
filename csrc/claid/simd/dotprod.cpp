// NEON with the dot products of Armv8.2: int16 as in neon.cpp, 16 multiply-adds of int8 and their
// sums in one instruction (sdot).
#include "claid/simd/dotprod_isa.hpp"

namespace claid {
namespace {

constexpr FilterKernels kFilter = filter_of<DotFilter>();
constexpr Kernels kKernels = kernels_of<Neon>("dotprod", &kFilter);

}  // namespace

const Kernels* dotprod_kernels() { return &kKernels; }

}  // namespace claid

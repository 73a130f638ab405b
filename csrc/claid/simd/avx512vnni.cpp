// AVX-512 with VNNI: 32 multiply-adds of int16 and their sums in one instruction (vpdpwssd), 64 of
// int8 (vpdpbusd).
#include "claid/simd/avx512vnni_isa.hpp"

namespace claid {
namespace {

constexpr FilterKernels kFilter = filter_of<Vnni512Filter>();
constexpr Kernels kKernels = kernels_of<Avx512<DotAccumulate>>("avx512vnni", &kFilter);

}  // namespace

const Kernels* avx512vnni_kernels() { return &kKernels; }

}  // namespace claid

// AVX-VNNI's level with its instructions in the encoding of AVX-512, for processors that have only
// that one.
#define avxvnni_kernels avxvnni_by_avx512_kernels
#include "claid/simd/avxvnni.cpp"

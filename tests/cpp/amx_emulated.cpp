// AMX's level with its tiles in plain C++, for processors that have AVX-512 VNNI only.
#include <immintrin.h>

#include "emulated_amx.hpp"

#define amx_kernels amx_emulated_kernels
#include "claid/simd/amx.cpp"

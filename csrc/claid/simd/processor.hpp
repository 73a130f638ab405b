// What the processor has and the system has enabled, as far as a level of kernels depends on it.
#pragma once

namespace claid {

// Each includes what its level needs besides the instructions that name it.
struct Processor {
    bool avx2 = false, avxvnni = false, avx512 = false, avx512vnni = false, amx = false;
    bool dotprod = false, i8mm = false;
};

Processor processor();

}  // namespace claid

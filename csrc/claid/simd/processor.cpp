// By cpuid itself on x86: __builtin_cpu_supports needs a library that MSVC's linker lacks, and
// compilers differ in the names that they know.
#include "claid/simd/processor.hpp"

#include <cstdint>

#if defined(CLAID_X86)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(CLAID_ARM64) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(CLAID_ARM64) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace claid {
namespace {

#if defined(CLAID_X86)

struct Registers {
    std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;  // zero where there is no such leaf
};

Registers cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
    Registers r;
    if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
    return r;
}

// XCR0: the registers that the system saves (Intel's manual, volume 1, 13.3).
std::uint32_t saved_registers() {
    std::uint32_t low = 0, high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

constexpr bool has_all(std::uint32_t value, std::uint32_t bits) { return (value & bits) == bits; }

// Linux lets a process use AMX's tiles only when it asks: they are larger than a signal's stack
// was promised to need.
bool tiles_granted() {
#if defined(__linux__)
    constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XTILEDATA
    static const bool granted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
    return granted;
#else
    return false;
#endif
}

#elif defined(CLAID_ARM64) && defined(__APPLE__)

bool has_feature(const char* name) {
    int value = 0;
    std::size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
}

#endif

}  // namespace

Processor processor() {
    Processor has;
#if defined(CLAID_X86)
    // Bits of cpuid (Intel's manual, volume 2, CPUID) and of XCR0.
    constexpr std::uint32_t kFma = 1U << 12, kPopcnt = 1U << 23, kXsave = 1U << 27;  // 1, ecx
    constexpr std::uint32_t kAvx2 = 1U << 5, kAvx512 = 1U << 16 | 1U << 17 | 1U << 30 | 1U << 31;
    constexpr std::uint32_t kAvx512Vnni = 1U << 11;      // 7, ecx
    constexpr std::uint32_t kAmx = 1U << 24 | 1U << 25;  // 7, edx
    constexpr std::uint32_t kAvxVnni = 1U << 4;          // 7:1, eax
    constexpr std::uint32_t kYmm = 0x6, kZmm = 0xe6, kTiles = 3U << 17;
    const Registers first = cpuid(1, 0), seventh = cpuid(7, 0);
    if (!has_all(first.ecx, kFma | kPopcnt | kXsave)) return has;
    const std::uint32_t saved = saved_registers();
    has.avx2 = has_all(saved, kYmm) && has_all(seventh.ebx, kAvx2);
    has.avxvnni = has.avx2 && seventh.eax > 0 && has_all(cpuid(7, 1).eax, kAvxVnni);
    // Foundation, doublewords, bytes and words, short vectors.
    has.avx512 = has.avx2 && has_all(saved, kZmm) && has_all(seventh.ebx, kAvx512);
    has.avx512vnni = has.avx512 && has_all(seventh.ecx, kAvx512Vnni);
    has.amx =
        has.avx512vnni && has_all(saved, kTiles) && has_all(seventh.edx, kAmx) && tiles_granted();
#elif defined(CLAID_ARM64) && defined(__linux__)
    has.dotprod = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
    has.i8mm = has.dotprod && (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0;
#elif defined(CLAID_ARM64) && defined(__APPLE__)
    has.dotprod = has_feature("hw.optional.arm.FEAT_DotProd");
    has.i8mm = has.dotprod && has_feature("hw.optional.arm.FEAT_I8MM");
#endif
    return has;
}

}  // namespace claid

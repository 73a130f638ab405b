#include "claid/simd/dispatch.hpp"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

#if defined(CLAID_X86) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(CLAID_ARM64) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace claid {
namespace {

struct Level {
    SimdLevel tables;
    bool runs_here;
};

#if defined(CLAID_X86)
// Whether the processor has AMX and Linux lets this process use its tiles: they are larger than a
// signal's stack was promised to need, so a process has to ask.
bool amx_granted() {
#if defined(__linux__)
    constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XTILEDATA
    static const bool granted = __builtin_cpu_supports("amx-tile") != 0 &&
                                __builtin_cpu_supports("amx-int8") != 0 &&
                                syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
    return granted;
#else
    return false;
#endif
}
#elif defined(CLAID_ARM64)
#if defined(__linux__)
bool has_dotprod() { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }
bool has_i8mm() { return (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0; }
#else
bool has_dotprod() { return false; }
bool has_i8mm() { return false; }
#endif
#endif

std::vector<Level> levels_of_build() {
    std::vector<Level> all = {{{scalar_kernels(), scalar_box_kernels()}, true}};
#if defined(CLAID_X86)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt") &&
                      __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl");
    const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
    all.push_back({{avx2_kernels(), avx2_box_kernels()}, avx2});
    all.push_back(
        {{avxvnni_kernels(), avx2_box_kernels()}, avx2 && __builtin_cpu_supports("avxvnni")});
    all.push_back({{avx512_kernels(), avx512_box_kernels()}, avx512});
    // Before the one that is chosen by itself: no CPU that has it has run it yet (docs/kernels.md).
    all.push_back({{amx_kernels(), avx512_box_kernels()}, vnni && amx_granted()});
    all.push_back({{avx512vnni_kernels(), avx512_box_kernels()}, vnni});
#elif defined(CLAID_ARM64)
    all.push_back({{neon_kernels(), neon_box_kernels()}, true});
    all.push_back({{dotprod_kernels(), neon_box_kernels()}, has_dotprod()});
    all.push_back({{i8mm_kernels(), neon_box_kernels()}, has_dotprod() && has_i8mm()});
#endif
    return all;
}

const std::vector<Level>& levels() {
    static const std::vector<Level> all = levels_of_build();
    return all;
}

std::string join(const std::vector<std::string>& names) {
    std::string joined;
    for (const std::string& name : names) joined += (joined.empty() ? "" : ", ") + name;
    return joined;
}

const Level* find(std::string_view name, std::string_view source) {
    for (const Level& level : levels()) {
        if (name == level.tables.kernels->level && level.runs_here) return &level;
    }
    throw std::invalid_argument(std::string(source) + " asks for the SIMD level '" +
                                std::string(name) +
                                "'; this build runs here: " + join(simd_levels()));
}

const Level* initial() {
    const char* forced = std::getenv("CLAID_SIMD");
    return find(forced != nullptr && *forced != '\0' ? forced : simd_levels().back(), "CLAID_SIMD");
}

std::atomic<const Level*> in_use{nullptr};

const Level& current_level() {
    const Level* current = in_use.load(std::memory_order_acquire);
    if (current == nullptr) {
        current = initial();
        in_use.store(current, std::memory_order_release);
    }
    return *current;
}

}  // namespace

std::vector<std::string> compiled_simd_levels() {
    std::vector<std::string> names;
    for (const Level& level : levels()) names.emplace_back(level.tables.kernels->level);
    return names;
}

std::vector<std::string> simd_levels() {
    std::vector<std::string> names;
    for (const Level& level : levels()) {
        if (level.runs_here) names.emplace_back(level.tables.kernels->level);
    }
    return names;
}

const Kernels& kernels() { return *current_level().tables.kernels; }

SimdLevel simd_level() { return current_level().tables; }

void use_simd_level(std::string_view level) {
    in_use.store(find(level, "set_simd_level"), std::memory_order_release);
}

}  // namespace claid

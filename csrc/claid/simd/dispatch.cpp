#include "claid/simd/dispatch.hpp"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

namespace claid {
namespace {

struct Level {
    const Kernels* kernels;
    bool runs_here;
};

std::vector<Level> levels() {
    std::vector<Level> all = {{scalar_kernels(), true}};
#if defined(CLAID_X86)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl");
    const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
    all.push_back({avx2_kernels(), avx2});
    all.push_back({avx512_kernels(), avx512});
    all.push_back({avx512vnni_kernels(), vnni});
#elif defined(CLAID_ARM64)
    all.push_back({neon_kernels(), true});
#endif
    return all;
}

std::string join(const std::vector<std::string>& names) {
    std::string joined;
    for (const std::string& name : names) joined += (joined.empty() ? "" : ", ") + name;
    return joined;
}

const Kernels* find(std::string_view name, std::string_view source) {
    for (const Level& level : levels()) {
        if (name == level.kernels->level && level.runs_here) return level.kernels;
    }
    throw std::invalid_argument(std::string(source) + " asks for the SIMD level '" +
                                std::string(name) +
                                "'; this build runs here: " + join(simd_levels()));
}

const Kernels* initial() {
    const char* forced = std::getenv("CLAID_SIMD");
    return find(forced != nullptr && *forced != '\0' ? forced : simd_levels().back(), "CLAID_SIMD");
}

std::atomic<const Kernels*> in_use{nullptr};

}  // namespace

std::vector<std::string> compiled_simd_levels() {
    std::vector<std::string> names;
    for (const Level& level : levels()) names.emplace_back(level.kernels->level);
    return names;
}

std::vector<std::string> simd_levels() {
    std::vector<std::string> names;
    for (const Level& level : levels()) {
        if (level.runs_here) names.emplace_back(level.kernels->level);
    }
    return names;
}

const Kernels& kernels() {
    const Kernels* current = in_use.load(std::memory_order_acquire);
    if (current == nullptr) {
        current = initial();
        in_use.store(current, std::memory_order_release);
    }
    return *current;
}

void use_simd_level(std::string_view level) {
    in_use.store(find(level, "set_simd_level"), std::memory_order_release);
}

}  // namespace claid

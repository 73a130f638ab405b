#include "claid/simd/dispatch.hpp"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

#include "claid/simd/processor.hpp"

namespace claid {
namespace {

struct Level {
    SimdLevel tables;
    bool runs_here;
};

std::vector<Level> levels_of_build() {
    std::vector<Level> all = {{{scalar_kernels(), scalar_box_kernels()}, true}};
    const Processor has = processor();
#if defined(CLAID_X86)
    all.push_back({{avx2_kernels(), avx2_box_kernels()}, has.avx2});
    all.push_back({{avxvnni_kernels(), avx2_box_kernels()}, has.avxvnni});
    all.push_back({{avx512_kernels(), avx512_box_kernels()}, has.avx512});
    // Before the one that is chosen by itself: no CPU that has it has run it yet (docs/kernels.md).
    all.push_back({{amx_kernels(), avx512_box_kernels()}, has.amx});
    all.push_back({{avx512vnni_kernels(), avx512_box_kernels()}, has.avx512vnni});
#elif defined(CLAID_ARM64)
    all.push_back({{neon_kernels(), neon_box_kernels()}, true});
    all.push_back({{dotprod_kernels(), neon_box_kernels()}, has.dotprod});
    all.push_back({{i8mm_kernels(), neon_box_kernels()}, has.i8mm});
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

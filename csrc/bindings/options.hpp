// The options of a decomposition, from the keyword arguments of detect and detect_cuda.
#pragma once

#include <pybind11/pybind11.h>

#include "claid/types.hpp"

namespace bindings {

inline claid::Options options_of(const pybind11::kwargs& arguments) {
    const auto get = [&arguments]<class T>(const char* name, T& out) {
        out = arguments[name].cast<T>();
    };
    claid::Options options;
    bool random_start = false, released = false;
    get("tau", options.tau);
    get("connectivity", options.connectivity);
    get("energy_top", options.energy_top);
    get("dominance", options.dominance);
    get("min_patches", options.min_patches);
    get("random_start", random_start);
    get("seed", options.seed);
    get("max_passes", options.max_passes);
    get("released", released);
    options.start = random_start ? claid::Start::random : claid::Start::seeds;
    options.rules = released ? claid::Rules::released : claid::Rules::paper;
    return options;
}

}  // namespace bindings

#include <cstdint>

#include "bindings/register.hpp"
#include "claid/types.hpp"

namespace py = pybind11;

namespace {

claid::Options options(double tau, double connectivity, double energy_top, double dominance,
                       std::int64_t min_patches, bool random_start, std::uint64_t seed,
                       std::int64_t max_passes, bool released) {
    return {tau,       connectivity, energy_top,
            dominance, min_patches,  random_start ? claid::Start::random : claid::Start::seeds,
            seed,      max_passes,   released ? claid::Rules::released : claid::Rules::paper};
}

}  // namespace

// As the others. NOLINTNEXTLINE(misc-const-correctness)
void register_options(py::module_& module) {
    using py::arg;
    py::class_<claid::Options>(module, "Options",
                               "The options of one call, checked; see claid_ext.detect.")
        .def(py::init(&options), py::kw_only(), arg("tau"), arg("connectivity"), arg("energy_top"),
             arg("dominance"), arg("min_patches"), arg("random_start"), arg("seed"),
             arg("max_passes"), arg("released"));
}

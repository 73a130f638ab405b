#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bindings/register.hpp"
#include "bindings/tree_arrays.hpp"
#include "claid/parallel.hpp"
#include "claid/simd/dispatch.hpp"
#include "claid/tree.hpp"

namespace py = pybind11;

namespace {

using FeatureArray = py::array_t<float, py::array::c_style>;
using GridArgument = std::pair<std::int32_t, std::int32_t>;

// Guards the kernels against a caller that did not come through claid_ext.detect.
claid::Features checked(const FeatureArray& array, GridArgument grid) {
    const claid::Grid shape{grid.first, grid.second};
    if (grid.first < 1 || grid.second < 1 || array.ndim() != 2 || array.shape(1) < 1 ||
        shape.patches() > claid::kMaxPatches ||
        shape.patches() != static_cast<std::size_t>(array.shape(0))) {
        throw std::invalid_argument("features must be (H * W, D) with at most 65535 rows");
    }
    return {array.data(), static_cast<std::size_t>(array.shape(1)), shape};
}

py::list detect(const std::vector<FeatureArray>& features, const std::vector<GridArgument>& grids,
                const claid::Options& options, std::size_t threads) {
    if (features.size() != grids.size()) throw std::invalid_argument("one grid an image");
    std::vector<claid::Features> batch;
    batch.reserve(features.size());
    for (std::size_t i = 0; i < features.size(); ++i) {
        batch.push_back(checked(features[i], grids[i]));
    }
    const claid::Kernels& simd = claid::kernels();
    std::vector<claid::RegionTree> trees;
    {
        const py::gil_scoped_release unlocked;
        trees = claid::decompose(batch, options, simd,
                                 threads > 0 ? threads : claid::available_threads());
    }
    py::list out;
    for (const claid::RegionTree& tree : trees) out.append(bindings::to_arrays(tree));
    return out;
}

}  // namespace

void register_detect(py::module_& module) {
    using py::arg;
    module.def("detect", &detect, arg("features").noconvert(), arg("grids"), arg("options"),
               py::kw_only(), arg("threads"),
               "Region trees of float32 features, as tuples of arrays; see claid_ext.detect.");
}

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bindings/dlpack.hpp"
#include "bindings/register.hpp"
#include "bindings/tree_arrays.hpp"
#include "cuda/decompose.hpp"

namespace py = pybind11;

namespace {

using bindings::DeviceMatrix;
using claid::cuda::FeatureView;
using FeatureArray = py::array_t<float, py::array::c_style>;
using GridArgument = std::pair<std::int32_t, std::int32_t>;

// Features of a batch, some on the device and some on the host, held while the device reads them.
class Sources {
  public:
    Sources(const py::sequence& features, const std::vector<GridArgument>& grids, int device) {
        if (features.size() != grids.size()) throw std::invalid_argument("one grid an image");
        matrices_.reserve(features.size());
        for (std::size_t i = 0; i < features.size(); ++i) add(features[i], grids[i], device);
    }
    [[nodiscard]] const std::vector<FeatureView>& views() const { return views_; }

  private:
    void add(const py::object& features, GridArgument grid, int device) {
        if (py::isinstance<py::capsule>(features)) {
            const DeviceMatrix& matrix =
                matrices_.emplace_back(py::reinterpret_borrow<py::capsule>(features));
            if (matrix.device() != device) {
                throw std::invalid_argument("features are on CUDA device " +
                                            std::to_string(matrix.device()) + ", not on " +
                                            std::to_string(device));
            }
            add(matrix.view(), matrix.rows(), grid);
            return;
        }
        const auto array = features.cast<FeatureArray>();
        if (array.ndim() != 2 || array.shape(1) < 1) {
            throw std::invalid_argument("features must be (H * W, D)");
        }
        arrays_.push_back(array);
        FeatureView view;
        view.values = array.data();
        view.on_host = 1;
        view.dims = static_cast<std::size_t>(array.shape(1));
        view.row_stride = array.shape(1);
        add(view, array.shape(0), grid);
    }

    void add(FeatureView view, std::int64_t rows, GridArgument grid) {
        view.grid = {grid.first, grid.second};
        if (grid.first < 1 || grid.second < 1 || view.grid.patches() > claid::kMaxPatches ||
            view.grid.patches() != static_cast<std::size_t>(rows)) {
            throw std::invalid_argument("features must be (H * W, D) with at most 65535 rows");
        }
        views_.push_back(view);
    }

    std::vector<DeviceMatrix> matrices_;
    std::vector<FeatureArray> arrays_;
    std::vector<FeatureView> views_;
};

py::list detect_cuda(const py::sequence& features, const std::vector<GridArgument>& grids,
                     const claid::Options& options, int device, std::uintptr_t stream) {
    const Sources sources(features, grids, device);
    std::vector<claid::RegionTree> trees;
    {
        const py::gil_scoped_release unlocked;
        trees = claid::cuda::decompose(sources.views(), options, {device, stream});
    }
    py::list out;
    for (const claid::RegionTree& tree : trees) out.append(bindings::to_arrays(tree));
    return out;
}

// Milliseconds of the steps, for bench/gpu_timing.py; the trees are dropped.
py::dict time_cuda_steps(const py::sequence& features, const std::vector<GridArgument>& grids,
                         const claid::Options& options, int device, std::uintptr_t stream) {
    const Sources sources(features, grids, device);
    claid::cuda::Timing timing;
    {
        const py::gil_scoped_release unlocked;
        claid::cuda::decompose(sources.views(), options, {device, stream}, &timing);
    }
    using namespace py::literals;
    return py::dict("upload"_a = timing.upload, "quantise"_a = timing.quantise,
                    "affinity"_a = timing.affinity, "tree"_a = timing.tree, "busy"_a = timing.busy,
                    "sweeps"_a = timing.sweeps, "rounds"_a = timing.rounds,
                    "moves"_a = timing.moves, "products"_a = timing.products);
}

}  // namespace

void register_detect_cuda(py::module_& module) {
    module.def("detect_cuda", &detect_cuda, py::arg("features"), py::arg("grids"),
               py::arg("options"), py::kw_only(), py::arg("device"), py::arg("stream"),
               "Region trees of DLPack capsules (N, D) on a CUDA device and float32 arrays (N, D), "
               "made on a stream of that device; see claid_ext.detect.");
    module.def("time_cuda_steps", &time_cuda_steps, py::arg("features"), py::arg("grids"),
               py::arg("options"), py::kw_only(), py::arg("device"), py::arg("stream"),
               "Milliseconds that the steps of detect_cuda take on the device: upload, quantise, "
               "affinity and tree, one after another; and added up over the blocks that grow the "
               "trees, busy, and sweeps of that. Also the k-sums rounds and moves, and the "
               "products that the moves took.");
}

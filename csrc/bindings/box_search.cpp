#include "claid/box_search.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "bindings/register.hpp"
#include "claid/parallel.hpp"
#include "claid/simd/dispatch.hpp"

namespace py = pybind11;

namespace {

using FloatArray = py::array_t<float, py::array::c_style>;
using DoubleArray = py::array_t<double, py::array::c_style>;
using CodeArray = py::array_t<std::uint8_t, py::array::c_style>;

std::string shape_of(const py::array& array) {
    return py::str(array.attr("dtype")).cast<std::string>() + " " +
           py::str(array.attr("shape")).cast<std::string>();
}

[[noreturn]] void refuse(const std::string& name, const std::string& wanted,
                         const py::array& array) {
    throw std::invalid_argument(name + " must be " + wanted + ", got " + shape_of(array));
}

std::string item(const char* name, std::size_t i) {
    return std::string(name) + "[" + std::to_string(i) + "]";
}

// An array of this shape; -1 fits any number.
void check_shape(const std::string& name, const py::array& array,
                 const std::vector<py::ssize_t>& shape, const char* wanted) {
    bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
    for (std::size_t i = 0; fits && i < shape.size(); ++i) {
        fits = shape[i] < 0 || array.shape(static_cast<py::ssize_t>(i)) == shape[i];
    }
    if (!fits) refuse(name, wanted, array);
}

const float* codebook_of(const char* name, const std::optional<FloatArray>& codebook) {
    if (!codebook)
        throw std::invalid_argument(std::string(name) + " is needed to decode uint8 maps");
    check_shape(name, *codebook, {claid::kSubspaces, claid::kCentroids, claid::kSubspaceDims},
                "float32 (16, 256, 4)");
    return codebook->data();
}

// Guards the kernels against a caller that did not come through claid_ext.index.box_search.
claid::CellMap map_of(const std::string& name, const py::array& array, std::size_t dims,
                      const char* codebook_name, const std::optional<FloatArray>& codebook,
                      const double* cell) {
    const char* wanted =
        "C-contiguous uint8 (h, w, 16), or float16 or float32 (h, w, D) with the query's D";
    if (array.ndim() != 3 || array.shape(0) < 1 || array.shape(1) < 1 ||
        (array.flags() & py::array::c_style) == 0) {
        refuse(name, wanted, array);
    }
    claid::CellMap map{{},
                       static_cast<std::size_t>(array.shape(0)),
                       static_cast<std::size_t>(array.shape(1)),
                       dims,
                       cell[0],
                       cell[1]};
    std::size_t columns = dims;
    if (py::isinstance<CodeArray>(array)) {
        columns = claid::kSubspaces;
        if (dims != claid::kCodedDims)
            refuse(name, "float, as the query has not 64 dimensions", array);
        map.cells = claid::CodedCells{static_cast<const std::uint8_t*>(array.data()),
                                      codebook_of(codebook_name, codebook)};
    } else if (py::isinstance<FloatArray>(array)) {
        map.cells = claid::FloatCells{static_cast<const float*>(array.data())};
    } else if (array.dtype().kind() == 'f' && array.itemsize() == 2) {
        map.cells = claid::HalfCells{static_cast<const std::uint16_t*>(array.data())};
    } else {
        refuse(name, wanted, array);
    }
    if (array.shape(2) != static_cast<py::ssize_t>(columns)) refuse(name, wanted, array);
    return map;
}

claid::BoxQuery query_of(const FloatArray& parts, const FloatArray& means, const FloatArray& sides,
                         const FloatArray& cells, double aspect, double cell_side) {
    check_shape("parts", parts, {-1, claid::kParts, -1}, "float32 (T, 9, D)");
    const py::ssize_t templates = parts.shape(0), dims = parts.shape(2);
    if (templates < 1 || dims < 1) refuse("parts", "float32 (T, 9, D) of at least one", parts);
    check_shape("means", means, {templates, -1}, "float32 (T, D) with the T of parts");
    if (means.shape(1) < 1) refuse("means", "float32 (T, D) of at least one", means);
    check_shape("sides", sides, {templates}, "float32 (T,) with the T of parts");
    check_shape("cells", cells, {-1, dims}, "float32 (g, D) with the D of parts");
    if (cells.shape(0) > static_cast<py::ssize_t>(claid::kMostQueryCells)) {
        refuse("cells", "at most " + std::to_string(claid::kMostQueryCells), cells);
    }
    if (!(aspect > 0.0)) throw std::invalid_argument("aspect must be positive");
    if (!(cell_side > 0.0)) throw std::invalid_argument("cell_side must be positive");
    return {static_cast<std::size_t>(templates),
            static_cast<std::size_t>(dims),
            static_cast<std::size_t>(means.shape(1)),
            parts.data(),
            means.data(),
            sides.data(),
            cells.data(),
            static_cast<std::size_t>(cells.shape(0)),
            aspect,
            cell_side};
}

claid::BoxSearchOptions options_of(const py::kwargs& arguments) {
    const auto get = [&arguments]<class T>(const char* name, T& out) {
        out = arguments[name].cast<T>();
    };
    claid::BoxSearchOptions options;
    std::array<double, claid::kAspects> aspects{};
    get("smallest_side", options.smallest_side);
    get("aspects", aspects);
    get("least_stride", options.least_stride);
    get("stride_divisor", options.stride_divisor);
    get("seeds", options.seeds);
    get("second_seeds", options.second_seeds);
    get("rounds", options.rounds);
    get("shift", options.shift);
    get("grow", options.grow);
    get("shrink", options.shrink);
    get("part_weight", options.part_weight);
    get("mean_weight", options.mean_weight);
    get("contrast_weight", options.contrast_weight);
    get("region_weight", options.region_weight);
    get("least_iou", options.least_iou);
    get("temperature", options.temperature);
    std::ranges::copy(aspects, options.aspects);
    if (!(options.smallest_side > 0.0) || !(options.least_stride > 0.0) ||
        !(options.stride_divisor > 0.0) || !(options.temperature > 0.0)) {
        throw std::invalid_argument(
            "smallest_side, least_stride, stride_divisor and temperature must be positive");
    }
    return options;
}

py::array_t<float> boxes_array(const std::vector<claid::Box>& boxes) {
    py::array_t<float> out({static_cast<py::ssize_t>(boxes.size()), py::ssize_t{4}});
    auto view = out.mutable_unchecked<2>();
    for (std::size_t i = 0; i < boxes.size(); ++i) {
        const claid::Box& box = boxes[i];
        const std::array<double, 4> sides = {box.x0, box.y0, box.x1, box.y1};
        for (std::size_t k = 0; k < sides.size(); ++k) {
            view(static_cast<py::ssize_t>(i), static_cast<py::ssize_t>(k)) =
                static_cast<float>(sides[k]);
        }
    }
    return out;
}

py::tuple to_arrays(const claid::FoundBox& found) {
    return py::make_tuple(
        boxes_array({found.box, found.best}), found.score, found.core, found.count, found.coarse,
        boxes_array(found.boxes),
        py::array_t<double>(static_cast<py::ssize_t>(found.scores.size()), found.scores.data()));
}

py::list box_search(const std::vector<py::array>& e16, const std::vector<py::array>& e32,
                    const DoubleArray& layout, const std::vector<FloatArray>& regions,
                    const std::optional<FloatArray>& codebook16,
                    const std::optional<FloatArray>& codebook32, const FloatArray& parts,
                    const FloatArray& means, const FloatArray& sides, const FloatArray& cells,
                    double aspect, double cell_side, std::size_t threads, bool keep_boxes,
                    const py::kwargs& arguments) {
    constexpr py::ssize_t kLayout = 6;
    if (e32.size() != e16.size()) throw std::invalid_argument("e32: one map per photo");
    if (regions.size() != e16.size()) throw std::invalid_argument("regions: one array per photo");
    check_shape("layout", layout, {static_cast<py::ssize_t>(e16.size()), kLayout},
                "float64 (K, 6)");
    if (!std::all_of(layout.data(), layout.data() + layout.size(),
                     [](double x) { return x > 0; })) {
        throw std::invalid_argument("layout must be positive");
    }
    const claid::BoxQuery query = query_of(parts, means, sides, cells, aspect, cell_side);
    const claid::BoxSearchOptions options = options_of(arguments);
    std::vector<claid::PhotoMaps> photos;
    photos.reserve(e16.size());
    for (std::size_t i = 0; i < e16.size(); ++i) {
        const double* row = layout.data() + static_cast<py::ssize_t>(i) * kLayout;
        check_shape(item("regions", i), regions[i], {-1, 4}, "float32 (R, 4)");
        photos.push_back(
            {map_of(item("e16", i), e16[i], query.dims16, "codebook16", codebook16, row + 2),
             map_of(item("e32", i), e32[i], query.dims32, "codebook32", codebook32, row + 4),
             row[0], row[1], regions[i].data(), static_cast<std::size_t>(regions[i].shape(0))});
    }
    const claid::SimdLevel level = claid::simd_level();
    std::vector<claid::FoundBox> found;
    {
        const py::gil_scoped_release unlocked;
        found = claid::box_search(photos, query, options, level,
                                  threads > 0 ? threads : claid::available_threads(), keep_boxes);
    }
    py::list out;
    for (const claid::FoundBox& box : found) out.append(to_arrays(box));
    return out;
}

}  // namespace

void register_box_search(py::module_& module) {
    using py::arg;
    module.def("box_search", &box_search, arg("e16"), arg("e32"), arg("layout").noconvert(),
               arg("regions").noconvert(), arg("codebook16").noconvert(),
               arg("codebook32").noconvert(), arg("parts").noconvert(), arg("means").noconvert(),
               arg("sides").noconvert(), arg("cells").noconvert(), arg("aspect"), arg("cell_side"),
               py::kw_only(), arg("threads"), arg("keep_boxes"),
               "The query's box in each photo, as tuples; see claid_ext.index.box_search.");
}

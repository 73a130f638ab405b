#include "bindings/tree_arrays.hpp"

#include <pybind11/numpy.h>

#include <algorithm>

namespace py = pybind11;

namespace bindings {
namespace {

template <class T, class Member>
py::array_t<T> column(const std::vector<claid::Region>& regions, Member member) {
    py::array_t<T> out(static_cast<py::ssize_t>(regions.size()));
    std::ranges::transform(regions, out.mutable_data(),
                           [member](const claid::Region& region) { return region.*member; });
    return out;
}

template <class T>
py::array_t<T> copy(const std::vector<T>& values) {
    return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

py::array_t<std::int32_t> boxes(const std::vector<claid::Region>& regions) {
    py::array_t<std::int32_t> out({static_cast<py::ssize_t>(regions.size()), py::ssize_t{4}});
    std::int32_t* to = out.mutable_data();
    for (const claid::Region& region : regions) {
        to = std::ranges::copy(region.box, to).out;
    }
    return out;
}

}  // namespace

py::tuple to_arrays(const claid::RegionTree& tree) {
    using claid::Region;
    const auto& regions = tree.regions;
    return py::make_tuple(
        column<std::int32_t>(regions, &Region::parent),
        column<std::int32_t>(regions, &Region::level), column<std::int32_t>(regions, &Region::size),
        column<double>(regions, &Region::connectivity), column<double>(regions, &Region::dominance),
        column<bool>(regions, &Region::dummy), boxes(regions), tree.cuts, tree.moves,
        copy(tree.offsets), copy(tree.members));
}

}  // namespace bindings

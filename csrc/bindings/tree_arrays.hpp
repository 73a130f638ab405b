// A RegionTree as the tuple of arrays that claid_ext.RegionTree is made of.
#pragma once

#include <pybind11/pybind11.h>

#include "claid/types.hpp"

namespace bindings {

pybind11::tuple to_arrays(const claid::RegionTree& tree);

}  // namespace bindings

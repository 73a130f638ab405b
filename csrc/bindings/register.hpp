// The parts of the extension module; module.cpp wires them together.
#pragma once

#include <pybind11/pybind11.h>

void register_errors(pybind11::module_& module);
void register_options(pybind11::module_& module);
void register_detect(pybind11::module_& module);
void register_detect_cuda(pybind11::module_& module);  // in builds with CUDA
void register_box_search(pybind11::module_& module);
void register_build(pybind11::module_& module);

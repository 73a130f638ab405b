#include <exception>

#include "bindings/register.hpp"
#include "claid/types.hpp"

namespace py = pybind11;

namespace {

// The Python class, as long as the process lives.
py::gil_safe_call_once_and_store<py::object>& not_finite_class() {
    PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::object> stored;
    return stored;
}

// pybind11's type of a translator. NOLINTNEXTLINE(performance-unnecessary-value-param)
void translate(std::exception_ptr pointer) {
    try {
        if (pointer) std::rethrow_exception(pointer);
    } catch (const claid::NotFiniteError& error) {
        const py::object& type = not_finite_class().get_stored();
        const py::object raised = type(error.what());
        raised.attr("image") = error.image;
        raised.attr("row") = error.row;
        raised.attr("column") = error.column;
        raised.attr("value") = error.value;
        PyErr_SetObject(type.ptr(), raised.ptr());
    }
}

}  // namespace

void register_errors(py::module_& module) {
    not_finite_class().call_once_and_store_result([&module]() -> py::object {
        return py::exception<claid::NotFiniteError>(module, "NotFiniteError", PyExc_ValueError);
    });
    py::register_local_exception_translator(&translate);
}

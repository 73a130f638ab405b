"""OpenVINO and NNCF, imported without their telemetry and without their warnings."""

from __future__ import annotations

import importlib
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

__all__ = ["conversion_warnings", "import_nncf", "import_openvino"]

_TELEMETRY = "openvino_telemetry"
_FIRST_USE = threading.Lock()


def import_openvino() -> Any:
    """Return the module openvino. Raises ImportError."""
    with _FIRST_USE:
        openvino = _imported("openvino")
        _make_type_maps(openvino)
    return openvino


def import_nncf() -> Any:
    """Return the module nncf. Raises ImportError."""
    return _imported("nncf")


def _make_type_maps(openvino: Any) -> None:
    """Let one thread alone make OpenVINO's maps between its types and NumPy's.

    They are static variables in C++, made when first used, and give up the GIL meanwhile: two
    threads whose first inferences meet there wait for each other for ever (OpenVINO 2026.4).
    """
    openvino.Type.f32.to_dtype()
    openvino.Tensor(np.zeros(1, np.float32)).data  # noqa: B018 (a property that makes an array)


@contextmanager
def conversion_warnings() -> Iterator[None]:
    """Pass over what torch and OpenVINO warn of whenever OpenVINO converts a network.

    That its way of tracing is deprecated, and that a trace keeps what depends on the shape: what
    is traced here does not depend on it, which is checked afterwards.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.trace", FutureWarning)
        warnings.filterwarnings("ignore", r"`torch\.jit\.trace", DeprecationWarning)
        warnings.filterwarnings("ignore", "Converting a tensor to a Python")
        yield


def _imported(name: str) -> Any:
    if name in sys.modules and sys.modules[name] is not None:
        return sys.modules[name]
    # Both send usage figures through a package of its own; where that is missing, they do not.
    absent = object()
    before = sys.modules.get(_TELEMETRY, absent)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            return importlib.import_module(name)
    finally:
        if before is absent:
            del sys.modules[_TELEMETRY]
        else:
            sys.modules[_TELEMETRY] = before  # type: ignore[assignment]

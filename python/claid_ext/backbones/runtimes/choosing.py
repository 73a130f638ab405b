"""Which runtime and precision a network runs with, by what is asked for and what is here."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any, NamedTuple

from claid_ext.backbones.runtimes.packages import import_openvino
from claid_ext.choices import PRECISIONS, RUNTIMES
from claid_ext.errors import RuntimeUnavailableError

__all__ = ["Choice", "bfloat16_flag", "choose", "openvino_version"]

BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16")
"""CPU flags of instructions that multiply in bfloat16; without them it is emulated, and slow."""

_CPU_INFO = Path("/proc/cpuinfo")


class Choice(NamedTuple):
    """A runtime, "torch" or "openvino", and a precision, "float32", "bfloat16" or "int8"."""

    runtime: str
    precision: str


def choose(
    runtime: str = "auto",
    precision: str = "auto",
    device: Any = None,
    *,
    convertible: bool = True,
) -> Choice:
    """Choose what runs a network here.

    "auto" is OpenVINO with bfloat16 on a CPU that has it in hardware, if OpenVINO is installed;
    else torch with float32. With one of the two given, "auto" is what suits it.

    Parameters
    ----------
    runtime : one of RUNTIMES.
    precision : one of PRECISIONS.
    device : torch's, None for a GPU where there is one, unless `runtime` is "openvino".
    convertible : whether OpenVINO can run the network.

    Raises
    ------
    ValueError : an unknown name, or two that do not go together.
    RuntimeUnavailableError : OpenVINO is not installed, or the CPU has no bfloat16.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f"runtime must be one of {', '.join(RUNTIMES)}, got {runtime!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if runtime == "openvino":
        return _openvino(precision, device, convertible)
    if runtime == "torch":
        return _torch(precision, device)
    if precision == "int8":
        return _openvino(precision, device, convertible)
    fits = precision != "float32" and convertible and bfloat16_flag() is not None
    if fits and openvino_version() is not None and _on_cpu(device):
        return Choice("openvino", "bfloat16")
    return _torch(precision, device)


def bfloat16_flag() -> str | None:
    """Return the flag by which this CPU says that it has bfloat16; None if it does not.

    Only Linux is asked: elsewhere it is None.
    """
    return next((flag for flag in BFLOAT16_FLAGS if flag in cpu_flags()), None)


def cpu_flags() -> frozenset[str]:
    """Return the flags of this machine's first CPU in /proc/cpuinfo; none where there is none."""
    try:
        text = _CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name.strip() == "flags":
            return frozenset(rest.split())
    return frozenset()


def openvino_version() -> str | None:
    """Return the version of OpenVINO, None where it cannot be imported."""
    try:
        import_openvino()
    except ImportError:
        return None
    return importlib.metadata.version("openvino")


def _openvino(precision: str, device: Any, convertible: bool) -> Choice:
    if not convertible:
        raise ValueError(
            'runtime="openvino" runs ViTs and convolutional networks of timm; a module or callable '
            'of your own runs with runtime="torch"'
        )
    if device is not None and not str(device).startswith("cpu"):
        raise ValueError(f'runtime="openvino" runs on the CPU, got device={str(device)!r}')
    try:
        import_openvino()
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"runtime openvino is not here ({error}): pip install 'claid_ext[fast]'"
        ) from None
    if precision == "auto":
        precision = "float32" if bfloat16_flag() is None else "bfloat16"
    if precision == "bfloat16":
        _check_bfloat16()
    return Choice("openvino", precision)


def _torch(precision: str, device: Any) -> Choice:
    if precision == "int8":
        raise ValueError('precision="int8" is for runtime="openvino", got runtime="torch"')
    if precision == "bfloat16" and _on_cpu(device):
        _check_bfloat16()
    return Choice("torch", "float32" if precision == "auto" else precision)


def _check_bfloat16() -> None:
    if bfloat16_flag() is None:
        raise RuntimeUnavailableError(
            f"precision bfloat16 is not here: the CPU has none of {', '.join(BFLOAT16_FLAGS)} in "
            "/proc/cpuinfo, and emulated it would be slower than float32"
        )


def _on_cpu(device: Any) -> bool:
    if device is not None:
        return str(device).startswith("cpu")
    try:
        import torch
    except ImportError:
        return True
    return not torch.cuda.is_available()

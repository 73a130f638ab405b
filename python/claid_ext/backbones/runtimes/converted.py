"""Converting networks for OpenVINO, and keeping what was converted in the user's cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from claid_ext.backbones.runtimes.packages import (
    conversion_warnings,
    import_nncf,
    import_openvino,
)
from claid_ext.errors import ClaidError, RuntimeUnavailableError

if TYPE_CHECKING:
    import torch

    from claid_ext.backbones.runtimes.network import Network

__all__ = [
    "CACHE",
    "CALIBRATION_PHOTOS",
    "cache_folder",
    "calibration_inputs",
    "converted_model",
    "digest_of",
    "quantised",
    "read_kept",
]

T = TypeVar("T")

CACHE = "CLAID_CACHE"  # environment variable
CALIBRATION_PHOTOS = 24
"""How many photos int8 is calibrated on: what its recall was measured with (docs/benchmarks.md)."""

_CONVERSION = 1  # to be raised when the way of converting changes
_WEIGHTS, _GRAPH = "model.bin", "model.xml"
_TOLERANCE = 1e-3  # of a converted network in float32, relative to the largest output


def cache_folder() -> Path:
    """Return where converted networks are kept; CLAID_CACHE names another folder.

    Else it is claid_ext in XDG_CACHE_HOME, or in .cache of the home folder.
    """
    if given := os.environ.get(CACHE):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "claid_ext"


def converted_model(network: Network) -> Any:
    """Return a network's body as an `openvino.Model` of float32, its sizes open.

    Raises
    ------
    RuntimeUnavailableError : OpenVINO cannot convert it, or what it makes gives something else.
    """
    version = import_openvino().get_version()
    folder = _folder("float", network, version)
    model = read_kept(folder)
    if model is None:
        model = _convert(network)
        with contextlib.suppress(OSError):  # a home that cannot be written to: converted each time
            _keep(model, folder)
    return model


def quantised(network: Network, inputs: Callable[[], Sequence[torch.Tensor]] | None) -> Path | None:
    """Return the folder of a network of int8; calibrated on `inputs`, if it is not there yet.

    None if it is not there and there are no inputs.

    Raises
    ------
    RuntimeUnavailableError : NNCF is not installed.
    OSError : the cache folder cannot be written to.
    """
    folder = _folder("int8", network, str(CALIBRATION_PHOTOS))
    if read_kept(folder) is None:
        if inputs is None:
            return None
        _keep(_quantise(network, inputs()), folder)
    return folder


def read_kept(folder: Path) -> Any | None:
    """Read a model that was kept; None if it is not there, or damaged."""
    if not (folder / _GRAPH).is_file():
        return None
    try:
        return import_openvino().Core().read_model(folder / _GRAPH)
    except RuntimeError:
        return None


def digest_of(folder: Path) -> str:
    """Return what identifies the weights and ranges of a model that was kept, hexadecimal."""
    return hashlib.sha256((folder / _WEIGHTS).read_bytes()).hexdigest()[:16]


def calibration_inputs(
    photos: Sequence[T], make: Callable[[T], torch.Tensor]
) -> list[torch.Tensor]:
    """Make the inputs that int8 is calibrated on from 24 photos, evenly spread.

    Photos that cannot be used are passed over, and others taken in their place.

    Raises
    ------
    ValueError : fewer than 24 can be used.
    """
    made: list[torch.Tensor] = []
    step = max(1, len(photos) // CALIBRATION_PHOTOS)
    for number in sorted(range(len(photos)), key=lambda number: (number % step, number)):
        if len(made) == CALIBRATION_PHOTOS:
            break
        with contextlib.suppress(ClaidError, ValueError):
            made.append(make(photos[number]))
    if len(made) < CALIBRATION_PHOTOS:
        raise ValueError(
            f"precision int8 is calibrated on {CALIBRATION_PHOTOS} photos, got {len(made)} that "
            'can be read; precision="bfloat16" needs none'
        )
    return made


def _folder(kind: str, network: Network, version: str) -> Path:
    key = f"{kind} {_CONVERSION} {version} {network.fingerprint}"
    return cache_folder() / f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:24]}"


def _keep(model: Any, folder: Path) -> None:
    """Write a model's two files whole or not at all; one that is there already stays."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        try:
            import_openvino().save_model(model, part / _GRAPH, compress_to_fp16=False)
        except RuntimeError as error:  # of a full disk, too
            raise OSError(f"{folder}: {error}") from error
        if folder.exists() and read_kept(folder) is None:  # damaged
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(FileExistsError):
            try:
                part.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process was faster
                    raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _convert(network: Network) -> Any:
    import torch

    ov = import_openvino()
    with torch.inference_mode(False), torch.no_grad(), conversion_warnings():
        examples = [network.head(one.clone()) for one in network.examples]
        try:
            model = ov.convert_model(network.body, example_input=examples[0])
        except Exception as error:  # its front ends raise errors of many kinds
            why = str(error).strip().partition("\n")[0]
            raise RuntimeUnavailableError(f"OpenVINO cannot convert this network: {why}") from error
        shapes = {
            its: ov.PartialShape(
                [a if a == b and axis else -1 for axis, (a, b) in enumerate(pairs)]
            )
            for its, *both in zip(model.inputs, *examples, strict=True)
            for pairs in [list(zip(both[0].shape, both[1].shape, strict=True))]
        }
        model.reshape(shapes)
        for inputs in examples:
            _check(model, network.body, inputs)
    return model


def _check(model: Any, body: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    """Compare with torch: a trace that has frozen a size would give something else at another."""
    import torch

    made = body(*inputs)
    wanted = [made] if isinstance(made, torch.Tensor) else list(made)
    ov = import_openvino()
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    try:
        got = list(compiled([one.numpy() for one in inputs]).values())
        close = [
            ours.shape == tuple(its.shape)
            and bool((torch.from_numpy(ours) - its).abs().max() <= _TOLERANCE * its.abs().max())
            for ours, its in zip(got, wanted, strict=True)
        ]
    except (RuntimeError, ValueError):
        close = [False]
    if not all(close):
        raise RuntimeUnavailableError(
            "OpenVINO converts this network to one that gives something else at other sizes; it "
            'runs with runtime="torch"'
        )


def _quantise(network: Network, inputs: Sequence[torch.Tensor]) -> Any:
    import torch

    try:
        nncf = import_nncf()
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"precision int8 needs NNCF ({error}): pip install 'claid_ext[fast]'"
        ) from None
    with torch.inference_mode():
        samples = [[part.numpy() for part in network.head(one)] for one in inputs]
    with _quiet_nncf(), conversion_warnings():
        return nncf.quantize(
            converted_model(network),
            nncf.Dataset(samples),
            subset_size=len(samples),
            model_type=nncf.ModelType.TRANSFORMER if network.transformer else None,
        )


@contextlib.contextmanager
def _quiet_nncf() -> Iterator[None]:
    """Keep NNCF from printing its progress, which would get between our own lines."""
    logger = logging.getLogger("nncf")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(before)

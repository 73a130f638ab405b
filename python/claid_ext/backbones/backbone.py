"""`Backbone`: a network that gives patch tokens, with what must be known about its input."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claid_ext.backbones.preprocess import IMAGENET_MEAN, IMAGENET_STD, to_tensor
from claid_ext.backbones.runtimes import Choice, Runner, TorchRunner, choose, make_runner
from claid_ext.backbones.runtimes.converted import calibration_inputs
from claid_ext.backbones.specs import BACKBONES, DEFAULT_TAU, BackboneSpec, default_min_patches
from claid_ext.backbones.vit import in_usual_module, vit_network
from claid_ext.weights import read_checkpoint, weights_digest

if TYPE_CHECKING:
    import torch
    from PIL import Image

    Tokens = Callable[[torch.Tensor], torch.Tensor]

__all__ = ["Backbone", "load_backbone", "running_of"]

_AS_GIVEN = "as given"  # the weights of a module or callable


class Backbone:
    """A network from images to patch features.

    Attributes
    ----------
    name : the name it was asked for by.
    patch_size : side of a patch in pixels.
    tau, min_patches : options of `claid_ext.detect` that suit its features.
    enlarged_tau : as in BackboneSpec.
    mean, std : per channel, of pixels between 0 and 1.
    device : where it runs.
    weights : where its weights came from, in words.
    runner : what runs the network (`claid_ext.backbones.runtimes`).
    """

    def __init__(
        self,
        name: str,
        tokens: Tokens,
        *,
        patch_size: int,
        tau: float = DEFAULT_TAU,
        min_patches: int | None = None,
        enlarged_tau: float | None = None,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
        device: torch.device | str = "cpu",
        weights: str = _AS_GIVEN,
        module: torch.nn.Module | None = None,
        runner: Runner | None = None,
    ) -> None:
        """Wrap `tokens`, which maps (B, 3, h, w) to (B, N, D), N = (h / patch) (w / patch).

        `module` is the network inside `tokens`, if there is one: its weights identify it. `runner`
        gives the same tokens, by another runtime than torch.
        """
        self.name = name
        self.patch_size = patch_size
        self.tau = tau
        self.min_patches = default_min_patches(patch_size) if min_patches is None else min_patches
        self.enlarged_tau = tau if enlarged_tau is None else enlarged_tau
        self.mean = mean
        self.std = std
        self.device = device
        self.weights = weights
        self.runner: Runner = TorchRunner(tokens, device) if runner is None else runner
        self._module = module
        self._fingerprint: str | None = None

    def __repr__(self) -> str:
        """Return its name, patch size, weights and device."""
        return (
            f"Backbone({self.name!r}, patch_size={self.patch_size}, weights={self.weights!r}, "
            f"device={str(self.device)!r}, runtime={', '.join(self.runner.choice)!r})"
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the weights, or of the name of a callable."""
        if self._fingerprint is None:
            self._fingerprint = weights_digest(self._module, self.name)
        return self._fingerprint

    def running(self) -> dict[str, str]:
        """Return what runs it, as `Runner.manifest`."""
        return self.runner.manifest()

    def calibrate(self, photos: Sequence[Any]) -> None:
        """Calibrate a backbone of int8 on photos, as `Detector.calibrate`."""
        from claid_ext.images import read_photo

        if not self.runner.calibrated:
            inputs = calibration_inputs(
                photos, lambda one: self.preprocess(read_photo(one).picture)[0][None]
            )
            self.runner.calibrate(inputs)

    def recipe(self) -> dict[str, Any] | None:
        """Return the name and weights that load it again in any folder; None for a callable."""
        if self.weights == _AS_GIVEN:
            return None
        of_file = not self.weights.startswith(("hub: ", "package: "))
        return {
            "name": self.name,
            "weights": str(Path(self.weights).absolute()) if of_file else None,
        }

    def preprocess(
        self, image: Image.Image, scale: float = 1.0
    ) -> tuple[torch.Tensor, tuple[float, float]]:
        """Make the input of `features` from an RGB image: the paper's size, `scale` times as large.

        Returns
        -------
        pixels : float32 (3, h, w) on the CPU, h and w whole patches, normalised.
        covered : (height, width) in pixels of `image` that they cover, from the top left corner.

        Raises
        ------
        ValueError : so elongated that it has more than 65535 patches.
        """
        return to_tensor(image, self.patch_size, self.mean, self.std, scale)

    def features(self, batch: torch.Tensor) -> torch.Tensor:
        """Return the features (B, N, D) of a batch (B, 3, h, w), on the backbone's device.

        Row-major over the grid of patches, without class and register tokens.
        Raises ValueError unless h and w are whole patches and the network gives N tokens.
        """
        import torch

        if batch.ndim != 4 or batch.shape[1] != 3:
            raise ValueError(f"batch must be (B, 3, h, w), got shape {tuple(batch.shape)}")
        height, width = batch.shape[2:]
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f"batch must be whole patches of {self.patch_size} pixels, got {height} x {width}"
            )
        features = self.runner(batch)
        wanted = (len(batch), height // self.patch_size * (width // self.patch_size))
        if not isinstance(features, torch.Tensor) or features.shape[:-1] != wanted:
            got = tuple(getattr(features, "shape", ())) or type(features).__name__
            raise ValueError(
                f"backbone {self.name} must give (B, N, D) patch tokens with (B, N) = {wanted}, "
                f"class and register tokens dropped, got {got}"
            )
        return features


def load_backbone(
    backbone: Any,
    weights: str | os.PathLike[str] | None = None,
    device: torch.device | str | None = None,
    *,
    patch_size: int | None = None,
    runtime: str | None = None,
    precision: str = "auto",
) -> Backbone:
    """Make a backbone ready to run.

    Parameters
    ----------
    backbone : one of BACKBONES; a timm name ("vit_base_patch16_clip_224.openai"); a timm ViT;
        a torch module or any callable that maps (B, 3, h, w) to (B, N, D); or a Backbone, which is
        returned as it is. A module is put in eval mode, and moved to `device` if one is given.
    weights : local file for a named backbone: .safetensors or torch, with the names of timm, of
        facebookresearch's DINO, DINOv2, DINOv3, or of transformers. None: from the hub at first
        use, afterwards from its cache; for focus_vits14 from the extra `[offline]`.
    device : None for CUDA if there is a GPU, else the CPU; a callable is not moved.
    patch_size : side of a patch in pixels; required for a callable or module, and only for these.
    runtime, precision : as `Detector`; None for torch, whose float32 is the same on every CPU, or
        for what a Backbone has already.

    Raises
    ------
    ValueError : no such backbone (names similar ones), not a plain ViT, or weights that do not fit.
    WeightsUnavailableError : the weights cannot be had here; lists the alternatives.
    FileNotFoundError : `weights` is not a file.
    ImportError : torch or timm is not installed.
    """
    if isinstance(backbone, Backbone):
        if weights is not None or patch_size is not None:
            raise ValueError("weights and patch_size are already fixed in a Backbone")
        _check_running(backbone.runner.choice, runtime, precision)
        return backbone
    runtime = "torch" if runtime is None else runtime
    try:
        import timm
        import torch
    except ImportError as error:
        raise ImportError(
            "backbones need torch and timm: pip install 'claid_ext[torch]'"
        ) from error
    if not isinstance(backbone, str):
        if weights is not None:
            raise ValueError("weights are for a named backbone; load them into the module instead")
        return _from_callable(backbone, device, patch_size, (runtime, precision))
    if patch_size is not None:
        raise ValueError(f"patch_size is for a callable; {backbone} knows its own")
    spec = BACKBONES.get(backbone)
    if spec is None and not timm.is_model(backbone):
        near = difflib.get_close_matches(backbone, [*BACKBONES, *timm.list_models("vit*")])
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(BACKBONES)}"
        raise ValueError(f"backbone: there is no {backbone!r} here or in timm; {hint}")
    model, origin = _create(backbone, spec, weights)
    choice = running_of(backbone, runtime, precision, device)
    device = device or ("cpu" if choice.runtime == "openvino" else _best_device(torch))
    return _from_timm(backbone, model, spec, device, origin, running=choice)


def running_of(
    backbone: str, runtime: str = "auto", precision: str = "auto", device: Any = None
) -> Choice:
    """Return what would run a backbone of a name here, without loading it.

    Arguments and errors are those of `claid_ext.backbones.runtimes.choose`.
    """
    convertible = backbone in BACKBONES or in_usual_module(backbone)
    return choose(runtime, precision, device, convertible=convertible)


def _check_running(choice: Choice, runtime: str | None, precision: str) -> None:
    """Refuse to change what runs a Backbone."""
    for name, given, its in zip(Choice._fields, (runtime, precision), choice, strict=True):
        if given not in {None, "auto", its}:
            raise ValueError(f"{name} is already fixed in a Backbone: {its}, got {given}")


def _create(
    name: str, spec: BackboneSpec | None, weights: str | os.PathLike[str] | None
) -> tuple[Any, str]:
    """Make a timm network with its weights, and say where they came from."""
    import timm

    from claid_ext.backbones.checkpoints import convert_checkpoint, load_weights
    from claid_ext.backbones.hub import create_from_hub

    timm_name = spec.timm_name if spec else name
    options: dict[str, Any] = {"num_classes": 0, "dynamic_img_size": True}
    try:
        package = spec.package if spec and weights is None else None
        if weights is None and package is None:
            return create_from_hub(timm_name, name, options), f"hub: {timm_name}"
        file = package.find() if package else Path(os.fspath(weights or ""))
        origin = f"package: {package.distribution}" if package else str(weights)
        state = convert_checkpoint(read_checkpoint(file))
        if "blocks.0.attn.q_bias" in state:
            timm_name = timm_name.replace("_dinov3.", "_dinov3_qkvb.")
        model = timm.create_model(timm_name, **options)
    except TypeError as error:
        raise ValueError(f"backbone: {name} is not a plain ViT: {error}") from error
    load_weights(model, state, origin)
    return model, origin


def _from_timm(
    name: str,
    model: Any,
    spec: BackboneSpec | None,
    device: Any,
    origin: str,
    *,
    running: tuple[str, str],
) -> Backbone:
    if not hasattr(model, "forward_intermediates") or not hasattr(model, "blocks"):
        raise ValueError(f"backbone: {name} is not a plain ViT, it has no blocks that give tokens")
    model.eval()
    if device is not None:
        model.to(device)
    block = (spec.block if spec else len(model.blocks)) - 1

    def tokens(batch: torch.Tensor) -> torch.Tensor:
        (taken,) = model.forward_intermediates(
            batch,
            indices=[block],
            norm=True,
            stop_early=True,
            output_fmt="NLC",
            intermediates_only=True,
        )
        result: torch.Tensor = taken
        return result

    patch_height, patch_width = model.patch_embed.patch_size
    if patch_height != patch_width:
        raise ValueError(f"backbone: {name} has patches of {patch_height} x {patch_width} pixels")
    config = getattr(model, "pretrained_cfg", {})
    device = next(model.parameters()).device
    network = vit_network(model, block + 1)
    choice = choose(*running, device, convertible=network is not None)
    return Backbone(
        name,
        tokens,
        patch_size=patch_height,
        tau=spec.tau if spec else DEFAULT_TAU,
        min_patches=spec.min_patches if spec else None,
        enlarged_tau=spec.enlarged_tau if spec else None,
        mean=tuple(config.get("mean", IMAGENET_MEAN)),
        std=tuple(config.get("std", IMAGENET_STD)),
        device=device,
        weights=origin,
        module=model,
        runner=make_runner(choice, tokens, network, device),
    )


def _from_callable(
    backbone: Any, device: Any, patch_size: int | None, running: tuple[str, str]
) -> Backbone:
    import torch

    if not callable(backbone):
        raise TypeError(
            f"backbone must be a name, a module or a callable, got {type(backbone).__name__}"
        )
    name = getattr(backbone, "__name__", type(backbone).__name__)
    module = backbone if isinstance(backbone, torch.nn.Module) else None
    if module is not None and hasattr(module, "forward_intermediates"):
        if patch_size is not None:
            raise ValueError(f"patch_size is for a callable; {name} knows its own")
        return _from_timm(name, module, None, device, _AS_GIVEN, running=running)
    if patch_size is None:
        raise ValueError("patch_size is needed with a callable backbone: the side of a patch")
    if isinstance(patch_size, bool) or not isinstance(patch_size, int) or patch_size < 1:
        raise ValueError(f"patch_size must be a positive int, got {patch_size!r}")
    if module is not None:
        module.eval()
        if device is not None:
            module.to(device)
        first = next(module.parameters(), None)
        device = first.device if first is not None else device
    device = device or "cpu"
    choice = choose(*running, device, convertible=False)
    return Backbone(
        name,
        backbone,
        patch_size=patch_size,
        device=device,
        module=module,
        runner=make_runner(choice, backbone, None, device),
    )


def _best_device(torch: Any) -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"

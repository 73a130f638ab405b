"""`Backbone`: a network that gives patch tokens, with what it needs to know about its input."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claid_ext.backbones.preprocess import IMAGENET_MEAN, IMAGENET_STD, to_tensor
from claid_ext.backbones.specs import BACKBONES, DEFAULT_TAU, BackboneSpec, default_min_patches
from claid_ext.weights import read_checkpoint, weights_digest

if TYPE_CHECKING:
    import torch
    from PIL import Image

    Tokens = Callable[[torch.Tensor], torch.Tensor]

__all__ = ["Backbone", "load_backbone"]

_AS_GIVEN = "as given"  # the weights of a module or callable


class Backbone:
    """A network from images to patch features.

    Attributes
    ----------
    name : what it was asked for as.
    patch_size : side of a patch in pixels.
    tau, min_patches : what suits its features as options of `claid_ext.detect`.
    enlarged_tau : as of BackboneSpec.
    mean, std : of a channel, of pixels between 0 and 1.
    device : where it runs.
    weights : where its weights came from, in words.
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
    ) -> None:
        """Wrap `tokens`, which maps (B, 3, h, w) to (B, N, D), N = (h / patch) (w / patch).

        `module` is the network inside `tokens`, where there is one: its weights identify it.
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
        self._tokens = tokens
        self._module = module
        self._fingerprint: str | None = None

    def __repr__(self) -> str:
        """Return its name, patch size, weights and device."""
        return (
            f"Backbone({self.name!r}, patch_size={self.patch_size}, weights={self.weights!r}, "
            f"device={str(self.device)!r})"
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 that stays the same as long as the weights do; of a callable, of its name."""
        if self._fingerprint is None:
            self._fingerprint = weights_digest(self._module, self.name)
        return self._fingerprint

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
        """Bring an RGB image to what `features` takes: the paper's size, `scale` times as large.

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

        Row-major over the grid of patches; class and register tokens are left out.
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
        with torch.inference_mode():
            features = self._tokens(batch.to(self.device))
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
) -> Backbone:
    """Make a backbone ready to run.

    Parameters
    ----------
    backbone : one of BACKBONES; a name of timm's ("vit_base_patch16_clip_224.openai"); a timm ViT;
        a torch module or any callable that maps (B, 3, h, w) to (B, N, D); or a Backbone, which is
        returned as it is. A module is put in eval mode and moved to `device` where one is given.
    weights : local file for a named backbone: .safetensors or torch, with the names of timm, of
        facebookresearch's DINO, DINOv2, DINOv3, or of transformers. None: from the hub at first
        use, afterwards from its cache; for focus_vits14 from the extra `[offline]`.
    device : None for CUDA where there is a GPU, else the CPU; a callable is not moved.
    patch_size : side of a patch in pixels; needed for a callable or module, and only there.

    Raises
    ------
    ValueError : no such backbone (says which are near), no plain ViT, or weights that do not fit.
    WeightsUnavailableError : the weights are nowhere to be had; says the ways out.
    FileNotFoundError : `weights` is no file.
    ImportError : torch or timm is not installed.
    """
    if isinstance(backbone, Backbone):
        if weights is not None or patch_size is not None:
            raise ValueError("weights and patch_size are already fixed in a Backbone")
        return backbone
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
        return _from_callable(backbone, device, patch_size)
    if patch_size is not None:
        raise ValueError(f"patch_size is for a callable; {backbone} knows its own")
    spec = BACKBONES.get(backbone)
    if spec is None and not timm.is_model(backbone):
        near = difflib.get_close_matches(backbone, [*BACKBONES, *timm.list_models("vit*")])
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(BACKBONES)}"
        raise ValueError(f"backbone: there is no {backbone!r} here or in timm; {hint}")
    model, origin = _create(backbone, spec, weights)
    return _from_timm(backbone, model, spec, device or _best_device(torch), origin)


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
        raise ValueError(f"backbone: {name} is no plain ViT: {error}") from error
    load_weights(model, state, origin)
    return model, origin


def _from_timm(
    name: str, model: Any, spec: BackboneSpec | None, device: Any, origin: str
) -> Backbone:
    if not hasattr(model, "forward_intermediates") or not hasattr(model, "blocks"):
        raise ValueError(f"backbone: {name} is no plain ViT, it has no blocks that give tokens")
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
    return Backbone(
        name,
        tokens,
        patch_size=patch_height,
        tau=spec.tau if spec else DEFAULT_TAU,
        min_patches=spec.min_patches if spec else None,
        enlarged_tau=spec.enlarged_tau if spec else None,
        mean=tuple(config.get("mean", IMAGENET_MEAN)),
        std=tuple(config.get("std", IMAGENET_STD)),
        device=next(model.parameters()).device,
        weights=origin,
        module=model,
    )


def _from_callable(backbone: Any, device: Any, patch_size: int | None) -> Backbone:
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
        return _from_timm(name, module, None, device, _AS_GIVEN)
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
    return Backbone(name, backbone, patch_size=patch_size, device=device or "cpu", module=module)


def _best_device(torch: Any) -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"

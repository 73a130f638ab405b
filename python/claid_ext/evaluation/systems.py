"""The systems of the paper's tables, by name: where their regions come from, and their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from claid_ext.evaluation.setup import Setup

__all__ = ["PEERS", "SYSTEMS", "WHITENED", "System", "method_name", "networks_name", "setups_of"]

WHITENED = ("rmac", "mac", "cam", "cam boxes")  # vectors that learn on photos given for it
PEERS = ("claid_ncut", "maskcut", "tokencut")  # on the features of a backbone
_FROM_BACKBONE = ("detect", *PEERS)


@dataclass(frozen=True)
class System:
    """One method.

    Attributes
    ----------
    title : as tables call it.
    regions : where its regions come from: a name of `claid_ext.choices.REGION_SOURCES`, one of
        `PEERS`, "dasr", "dasr_star", or "file" for boxes that another program found.
    vectors : "network" for a `RegionDescriptor`, which can have our second stage; "rmac", "mac",
        "cam", "cam boxes" or "blcf".
    saliency : of "blcf": "focus" or "salgan"; None where every cell weighs 1.
    """

    title: str
    regions: str
    vectors: str = "network"
    saliency: str | None = None


SYSTEMS: dict[str, System] = {
    "claid": System("CLAID", "detect"),
    "claid_ncut": System("CLAID (NCut)", "claid_ncut"),
    "maskcut": System("CutLER's MaskCut", "maskcut"),
    "cutler": System("CutLER", "file"),
    "tokencut": System("TokenCut", "tokencut"),
    "dasr_star": System("DASR*", "dasr_star"),
    "dasr": System("DASR", "dasr"),
    "grid": System("grid 1x1..4x4", "grid"),
    "full": System("whole photo", "full"),
    "rmac_boxes": System("R-MAC's boxes", "rmac"),
    "rmac_regions": System("R-MAC regions", "rmac", "mac"),
    "rmac": System("R-MAC", "full", "rmac"),
    "cam_weight": System("CAM-weight", "full", "cam"),
    "cam_boxes": System("CAM-weight, re-ranked", "full", "cam boxes"),
    "blcf": System("BLCF", "full", "blcf"),
    "blcf_saliency": System("BLCF-saliency", "full", "blcf", "focus"),
    "blcf_salgan": System("BLCF-SalGAN", "full", "blcf", "salgan"),
}
"""Every system that can be run, in the order of a table. DUODIS is only quoted."""


def setups_of(names: Sequence[str], base: Setup, poolings: Sequence[str]) -> list[Setup]:
    """Return the setups of systems: those with vectors of a network once for each pooling.

    Parameters
    ----------
    names : keys of `SYSTEMS`.
    base : everything else.
    poolings : of the descriptor; "whitened" has our second stage.

    Raises
    ------
    ValueError : an unknown name.
    """
    setups = []
    for name in names:
        if name not in SYSTEMS:
            raise ValueError(f"systems must be some of {', '.join(SYSTEMS)}, got {name!r}")
        system = SYSTEMS[name]
        one = base.but(regions=system.regions, vectors=system.vectors, saliency=system.saliency)
        if system.vectors == "network":
            setups += [one.but(pooling=pooling) for pooling in poolings]
        else:
            setups.append(one)
    return setups


def method_name(setup: Setup) -> str:
    """Return what tables call a setup's method."""
    own = (setup.regions, setup.vectors, setup.saliency)
    titles = (s.title for s in SYSTEMS.values() if (s.regions, s.vectors, s.saliency) == own)
    return next(titles, f"{setup.regions}, {setup.vectors}")


def networks_name(setup: Setup) -> str:
    """Return the networks that a setup runs, and how the descriptor's map is pooled."""
    names = []
    if setup.regions in _FROM_BACKBONE:
        names.append(setup.backbone)
    layers = f" {'+'.join(setup.layer)}" if setup.layer else ""
    if setup.vectors == "network":
        reduced = f" {setup.pca}-d" if setup.pca else ""
        names.append(f"{setup.descriptor}{layers} {setup.pooling}{reduced}")
    else:
        names.append(setup.descriptor)
    if setup.saliency == "focus":
        names.append("focus_vits14's saliency")
    return "; ".join(names)

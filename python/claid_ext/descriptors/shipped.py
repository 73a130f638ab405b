"""The bases shipped with this package, for indexes of few photos (made by bench/fit_basis.py)."""

from __future__ import annotations

import functools
from importlib.resources import files

from claid_ext.descriptors.basis import Basis

__all__ = ["shipped_basis"]

_SHIPPED = ("efficientnet_lite0",)


def shipped_basis(network: str) -> Basis | None:
    """Find the basis that comes with this package for a network, for indexes of few photos.

    Parameters
    ----------
    network : SHA-256 of the weights, hexadecimal.

    Returns
    -------
    None where there is none for these weights.
    """
    return next((basis for basis in _all_shipped() if network and basis.network == network), None)


@functools.cache
def _all_shipped() -> tuple[Basis, ...]:
    folder = files("claid_ext.descriptors") / "data"
    return tuple(Basis.from_bytes((folder / f"{name}.basis").read_bytes()) for name in _SHIPPED)

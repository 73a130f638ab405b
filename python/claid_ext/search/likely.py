"""Is the thing there at all? How probable it is that a photo of stage 2 shows what was asked for.

Stage 2 ranks the best photos it has, whether or not any of them shows the thing. Two numbers tell
more: `core`, how like the query the found box is, and the photo's margin, how far its score is
above the lower quartile of the scores of the query's refined photos, which most probably do not
show the thing. A logistic regression of both, fitted by bench/fit_likely.py on queries whose thing
is in some photos and on the same without these photos, gives a probability. Its few numbers are
shipped per network, since another network's scores are spread in another way.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claid_ext.choices import REFINE

__all__ = ["LEAST_PHOTOS", "Calibration", "calibration_of", "margins"]

LEAST_PHOTOS = 8  # a quartile of fewer says little; there is then no probability
QUARTILE = 0.25  # holds until three quarters of those photos show the thing


@dataclass(frozen=True)
class Calibration:
    """Probability = 1 / (1 + exp(-(core * x + margin * y + intercept))) of core x and margin y.

    Attributes
    ----------
    core, margin, intercept : of the logistic regression.
    threshold : from which probability on a photo is said to be likely.
    """

    core: float
    margin: float
    intercept: float
    threshold: float

    def judge(
        self,
        scores: NDArray[np.float64],
        cores: NDArray[np.float64],
        searched: int,
        *,
        all_of: bool = False,
    ) -> NDArray[np.float64] | None:
        """Say of a query's refined photos how probable it is that they show the thing.

        Parameters
        ----------
        scores, cores : (n, B), of each photo and each of the query's boxes, in the order of stage
            1.
        searched : how many photos stage 1 chose them from.
        all_of : whether the boxes are different things. Else they are views of one thing, and the
            one that scores best speaks for all.

        Returns
        -------
        (n, B), of each box; in all B columns the same unless `all_of`. None for fewer than 8
        photos, whose quartile says little.
        """
        if len(scores) < LEAST_PHOTOS:
            return None
        shape = scores.shape
        if not all_of:
            best = scores.argmax(axis=1)[:, None]
            scores, cores = (np.take_along_axis(its, best, axis=1) for its in (scores, cores))
        found = 1 / (
            1
            + np.exp(
                -(self.core * cores + self.margin * margins(scores, searched) + self.intercept)
            )
        )
        return np.broadcast_to(found, shape)


def margins(scores: NDArray[np.float64], searched: int) -> NDArray[np.float64]:
    """Return how far the scores of refined photos are above the lower quartile of the best of them.

    These are the first 30, as it is fitted on, or half of all photos where they are fewer: the
    worse half of a small index is so far from the query that everything is above it.

    Parameters
    ----------
    scores : (n, B), in the order of stage 1.
    searched : how many photos stage 1 chose them from.
    """
    best = scores[: max(1, min(REFINE, searched // 2))]
    above: NDArray[np.float64] = scores - np.quantile(best, QUARTILE, axis=0)
    return above


def calibration_of(network: str) -> Calibration | None:
    """Return the calibration for a descriptor network, by the SHA-256 of its weights.

    None if it has none; "" stands for unknown weights.
    """
    return _shipped().get(network) if network else None


@functools.cache
def _shipped() -> Mapping[str, Calibration]:
    path = files("claid_ext.search") / "data" / "likely.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    names = ("core", "margin", "intercept", "threshold")
    return {
        one["network_sha256"]: Calibration(**{name: float(one[name]) for name in names})
        for one in content["calibrations"]
    }

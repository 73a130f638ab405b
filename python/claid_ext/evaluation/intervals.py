"""How far a mean over queries may be off by the choice of the queries: bootstrap intervals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["CONFIDENCE", "bootstrap"]

CONFIDENCE = 0.90
RESAMPLES = 2000  # Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3


def bootstrap(
    values: npt.ArrayLike, confidence: float = CONFIDENCE, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of one figure over the queries.

    The queries are drawn anew with replacement, as many as there are, and the interval holds the
    middle `confidence` of the means (Efron and Tibshirani, 1993, chapter 13). Queries without a
    value (NaN) are left out, as `mean` leaves them out. The same seed gives the same interval.

    values: float (n,), of each query. confidence: above 0 and below 1.
    Returns (low, high); NaN twice if no query has a value.
    Raises ValueError on values of another shape or a confidence out of range.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"values: wanted shape (n,), got {array.shape}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: wanted a number between 0 and 1, got {confidence}")
    array = array[~np.isnan(array)]
    if not len(array):
        return float("nan"), float("nan")
    drawn = np.random.default_rng(seed).integers(0, len(array), (RESAMPLES, len(array)))
    means = array[drawn].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)

"""Hits as other libraries have detections."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from claid_ext.regions.value import detections
from claid_ext.search.query import Hit

__all__ = ["to_supervision"]


def to_supervision(hits: Iterable[Hit]) -> dict[str, Any]:
    """Return hits as `supervision.Detections` by image; see `Searcher.to_supervision`."""
    return {hit.image: _detections(hit.parts or (hit,)) for hit in hits}


def _detections(parts: tuple[Hit, ...]) -> Any:
    made = detections(
        np.array([part.box for part in parts], np.float32),
        confidence=np.array([part.score for part in parts], np.float32),
        data={
            "similarity": _column(part.similarity for part in parts),
            "level": np.array([part.level for part in parts]),
            "probability": _column(part.probability for part in parts),
            "likely": np.array([bool(part.likely) for part in parts]),
        },
    )
    made.class_id = np.arange(len(parts))
    return made


def _column(values: Iterable[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], np.float32)

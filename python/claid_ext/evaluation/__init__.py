"""Evaluation: the paper's figures of merit, the data sets they are measured on, and its tables."""

from __future__ import annotations

from claid_ext.evaluation.datasets import (
    SEARCH_SETS,
    DetectionImage,
    DetectionSet,
    SearchQuery,
    SearchSet,
    load_detection,
    load_search,
)
from claid_ext.evaluation.detection import measure_recall, recall_of_regions
from claid_ext.evaluation.metrics import (
    average_precision,
    flags,
    ilias_average_precision,
    localised,
    mean,
    mean_iou,
    rank,
    revisited_truth,
    trapezoidal_average_precision,
)
from claid_ext.evaluation.recall import RecallCurve, best_overlaps, recall
from claid_ext.overlap import box_area, box_iou, mask_iou

__all__ = [
    "SEARCH_SETS",
    "DetectionImage",
    "DetectionSet",
    "RecallCurve",
    "SearchQuery",
    "SearchSet",
    "average_precision",
    "best_overlaps",
    "box_area",
    "box_iou",
    "flags",
    "ilias_average_precision",
    "load_detection",
    "load_search",
    "localised",
    "mask_iou",
    "mean",
    "mean_iou",
    "measure_recall",
    "rank",
    "recall",
    "recall_of_regions",
    "revisited_truth",
    "trapezoidal_average_precision",
]

"""More than one machine: photos to records by any engine, records into any store (docs/scale.md).

An engine that exists does the distributing. Here are pure functions, a layout of files, and thin
adapters: `create` and `plan` list the photos of a data set, `extract` turns them into records on
an engine of `claid_ext.scale.engines`, `load` puts the records into a store.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from claid_ext.scale.dataset import DataSet
    from claid_ext.scale.extraction import ExtractReport, extract
    from claid_ext.scale.loading import LoadReport, load
    from claid_ext.scale.planning import PlanReport, create, plan, remove

__all__ = [
    "DataSet",
    "ExtractReport",
    "LoadReport",
    "PlanReport",
    "create",
    "extract",
    "load",
    "plan",
    "remove",
]

# Name -> the module that has it, imported when it is first asked for: a store needs no networks.
_LAZY = {
    "DataSet": "dataset",
    "ExtractReport": "extraction",
    "LoadReport": "loading",
    "PlanReport": "planning",
    "create": "planning",
    "extract": "extraction",
    "load": "loading",
    "plan": "planning",
    "remove": "planning",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

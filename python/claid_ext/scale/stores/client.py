"""The client of Milvus, imported where it is first needed."""

from __future__ import annotations

import threading
import warnings
from typing import Any

__all__ = ["import_pymilvus"]

_importing = threading.Lock()


def import_pymilvus() -> Any:
    """Import the client, whose own imports warn of what they use.

    Raises
    ------
    ImportError : it is not installed; names the extra that has it.
    """
    try:
        with _importing, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pymilvus
    except ImportError as error:
        raise ImportError(
            f"a Milvus store needs pymilvus ({error}): pip install 'claid_ext[milvus]'"
        ) from error
    return pymilvus

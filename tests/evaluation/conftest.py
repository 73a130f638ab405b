"""Pictures made on the spot, so that every loader can be fed its data set's exact layout."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def make_files() -> Callable[..., None]:
    """Empty files standing for pictures: loaders look at names, not at pixels."""

    def make(root: Path, *names: str) -> None:
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()

    return make


@pytest.fixture
def write_json() -> Callable[[Path, Any], Path]:
    def write(path: Path, contents: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(contents), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real pictures and ground truth, where this machine has it."""
    default = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("CLAID_DATA", default))
    if not (folder / "gnd" / "gnd_instre.json").is_file():
        pytest.skip(f"no data at {folder}: set CLAID_DATA")
    return folder

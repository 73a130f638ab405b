"""Pictures made on the spot, so that every loader can be fed its data set's exact layout."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """Two chequered things, pasted at known places into noise; and a detection set of them."""
    size = (112, 140)
    from PIL import Image

    root = tmp_path_factory.mktemp("data")
    folder = root / "things"
    (folder / "refs").mkdir(parents=True)
    noise = np.random.default_rng(0)
    colours = {"red": (220, 30, 30), "blue": (30, 60, 220)}
    images, annotations, positives = [], [], {name: [] for name in colours}
    for number in range(6):
        name = list(colours)[number % 2]
        pixels = noise.integers(90, 160, (*size, 3)).astype(np.uint8)
        y, x = (10, 12) if number < 3 else (40, 60)
        chequers = (np.indices((56, 56)) // 14).sum(0) % 2 == 0
        pixels[y : y + 56, x : x + 56][chequers] = colours[name]
        pixels[y : y + 56, x : x + 56][~chequers] = 250
        file = f"refs/{number}.png"
        Image.fromarray(pixels).save(folder / file)
        box = [x, y, x + 56, y + 56]
        record = {"file": file, "width": size[1], "height": size[0]}
        images.append({**record, "instances": [{"instance": name, "box": box}]})
        annotations.append({**record, "instances": [{"box": box, "crowd": False}]})
        positives[name].append(file)
    queries = [
        {"query": name, "image": f"refs/{i}.png", "box": [12, 10, 68, 66], "instance": name,
         "positives": [file for file in positives[name] if file != f"refs/{i}.png"]}
        for i, name in enumerate(colours)
    ]  # fmt: skip
    (folder / "queries.json").write_text(json.dumps({"queries": queries}))
    (folder / "references.json").write_text(json.dumps({"images": images}))
    (folder / "annotations.json").write_text(json.dumps({"images": annotations}))
    return root

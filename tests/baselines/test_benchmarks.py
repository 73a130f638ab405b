"""What the benchmarks are made of: clocks, memory, made features, methods, tables, files."""

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import claid_ext
import numpy as np
import pytest
from claid_ext.benchmarks import ablation, machine, memory, recall, scale, table4
from claid_ext.benchmarks.features import Photo
from claid_ext.benchmarks.methods import DETECTORS, TIMED, method, methods
from claid_ext.benchmarks.output import markdown_table, save_figure, save_json
from claid_ext.benchmarks.synthetic import scene_features
from claid_ext.benchmarks.timing import Timings, interleave

COMPARE = Path(__file__).parents[2] / "bench" / "compare.py"


@pytest.fixture(scope="module")
def photo(three_objects):
    """The planted scene as a photo of 14 pixels a patch."""
    height, width = three_objects.grid
    return Photo("planted", three_objects.features, three_objects.grid, (14 * height, 14 * width))


@pytest.fixture(scope="module")
def truth(three_objects):
    """Its three objects and a crowd over the whole image."""
    boxes = []
    for mask in three_objects.objects:
        rows, columns = np.nonzero(mask)
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    height, width = three_objects.grid
    boxes.append([0, 0, width, height])
    area = np.array([(b[2] - b[0]) * (b[3] - b[1]) for b in boxes]) / (height * width)
    return SimpleNamespace(
        size=(14 * height, 14 * width),
        boxes=14.0 * np.array(boxes),
        crowd=np.array([False, False, False, True]),
        area_fraction=area,
    )


def test_interleave_takes_turns():
    order = []
    timings = interleave({n: lambda n=n: order.append(n) for n in "ab"}, rounds=3, warmup=1)
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"
    assert all(len(seconds) == 3 for seconds in timings.seconds.values())
    assert all((seconds >= 0).all() for seconds in timings.seconds.values())
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        interleave({}, rounds=0)


def test_ratios_are_of_each_round():
    timings = Timings({"a": np.array([2.0, 9.0, 4.0]), "b": np.array([1.0, 3.0, 4.0])})
    ratio = timings.ratio("a", to="b")
    assert (ratio.median, ratio.low, ratio.high) == (2, 1, 3)
    assert timings.median("a") == 4
    assert str(ratio) == "2 (1..3)"


def test_scenes_repeat_and_look_like_features():
    features = scene_features((20, 30), 64, seed=3)
    assert features.dtype == np.float32
    assert features.shape == (600, 64)
    assert np.array_equal(features, scene_features((20, 30), 64, seed=3))
    assert not np.array_equal(features, scene_features((20, 30), 64, seed=4))
    tree = claid_ext.detect(features, (20, 30))
    assert len(tree.kept) >= 5
    assert tree.level.max() >= 3


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_peak_memory_of_a_matrix_product_is_its_result():
    peak = memory.peak_extra_bytes("gram", (40, 50), 16)
    result = 4 * 2000**2
    # The kernel counts resident pages in batches, so a few may be missing.
    assert 0.98 * result <= peak < result + 4e6


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_peak_memory_of_detect_holds_no_float_matrix():
    peak = memory.peak_extra_bytes("detect", (90, 100), 16)
    links = 9000**2 / 8
    assert links / 2 <= peak < 4 * links


def test_peak_memory_names_the_task():
    with pytest.raises(ValueError, match="task must be one of detect, gram, ncut, got 'sort'"):
        memory.peak_extra_bytes("sort", (2, 2), 1)


def test_machine_says_what_counts_and_no_names():
    described = machine.describe()
    text = json.dumps(described)
    assert described["packages"]["numpy"] == np.__version__
    assert described["claid_ext"]["simd"] in described["claid_ext"]["simd_usable"]
    assert str(Path.home()) not in text
    assert sys.prefix not in text
    assert described["cpu"] in machine.to_markdown(described)


def test_threads_are_held_and_given_back():
    threadpoolctl = pytest.importorskip("threadpoolctl")

    def threads():
        return {p["num_threads"] for p in threadpoolctl.threadpool_info()}

    with machine.threads_limited(2):
        before = threads()
        with machine.one_thread():
            assert threads() == {1}
        assert threads() == before


def test_every_default_method_exists(photo):
    for one in methods(sorted({*TIMED, *DETECTORS}), tau=0.2, min_patches=5):
        tree = one.detect(photo)
        work = one.work(photo)
        assert work.cuts == tree.cuts
    assert method("maskcut:lanczos", tau=0.2, min_patches=5).title.endswith("lanczos solver")


@pytest.mark.parametrize("name", ["watershed", "lost:eigh", "tokencut:qr", "cpu:eigh"])
def test_unknown_methods_are_named(name):
    with pytest.raises(ValueError, match=r"must be one of|takes no solver"):
        method(name, tau=0.2, min_patches=5)


def test_table4_counts_and_times(photo):
    chosen = methods(["grid", "tokencut", "reference", "cpu"], tau=0.2, min_patches=5)
    rows = {r.name: r for r in table4.measure([photo, photo], chosen, rounds=2, unit="cpu")}
    tree = claid_ext.detect(photo.features, photo.grid, min_patches=5)
    assert rows["cpu"].cuts == rows["reference"].cuts == tree.cuts
    assert rows["cpu"].regions == len(tree.kept)
    assert rows["cpu"].times_fastest.median == 1
    assert rows["grid"].cut_ms is None
    assert rows["tokencut"].cut_ms == rows["tokencut"].image_ms > 0
    text = table4.to_markdown(list(rows.values()), "cpu")
    assert text.count("\n") == 2 + len(rows)
    with pytest.raises(ValueError, match="unit must be one of the methods"):
        table4.measure([photo], chosen, rounds=1, unit="lost")
    with pytest.raises(ValueError, match="photos must be one or more"):
        table4.measure([], chosen, rounds=1, unit="cpu")


def test_recall_finds_planted_objects(photo, truth, tmp_path):
    found = recall.measure(
        [photo], [truth], methods(["cpu", "grid", "tokencut"], tau=0.2, min_patches=5)
    )
    claid = found["CLAID (C++)"]["own"]
    assert claid.objects == 3  # without the crowd
    assert (claid.all == 1).all()
    assert found["TokenCut"]["own"].all[0] == pytest.approx(1 / 3)
    assert found["grid 1x1..4x4"]["budget"].regions == 30
    numbers = recall.to_dict(found)["CLAID (C++)"]["own"]
    assert numbers["thresholds"][0] == 0.5
    assert numbers["recall"] == [1.0] * 10
    assert recall.to_markdown(found).count("\n") == 2 + 3
    pytest.importorskip("matplotlib")
    save_figure(tmp_path / "recall.png", recall.draw(found))
    assert (tmp_path / "recall.png").read_bytes().startswith(b"\x89PNG")


def test_budget_takes_the_first_regions(photo, truth):
    tree = claid_ext.detect(photo.features, photo.grid, min_patches=5)
    one = recall.curves([tree], [photo], [truth], budget=1)
    assert one.regions == 1
    everything = recall.curves([tree], [photo], [truth], with_dummies=True)
    assert everything.regions == len(tree)


@pytest.mark.parametrize("study", ablation.STUDIES)
def test_ablations_change_what_they_say(photo, truth, study, tmp_path):
    settings = ablation.measure(study, [photo], [truth], tau=0.2, min_patches=5)
    by_value = {s.value: s for s in settings}
    assert len(by_value) == len(settings) >= 2
    if study == "dummies":
        assert by_value["kept"].regions > by_value["left out"].regions
    if study == "min_patches":
        assert by_value[2].regions >= by_value[30].regions
    if study == "dominance":
        regions = [s.regions for s in settings]
        assert regions == sorted(regions, reverse=True)
    assert ablation.to_dict(settings)[0]["value"] == settings[0].value
    assert ablation.STUDIES[study] in ablation.to_markdown(study, settings)
    pytest.importorskip("matplotlib")
    save_figure(tmp_path / "study.png", ablation.draw(study, settings))
    assert (tmp_path / "study.png").stat().st_size > 1000


def test_unknown_study_is_named(photo, truth):
    with pytest.raises(ValueError, match="study must be one of"):
        ablation.measure("colour", [photo], [truth], tau=0.2, min_patches=5)


def test_scale_measures_every_series(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "FIXED_PATCHES", 100)
    found = scale.measure([60, 120], [16, 32], rounds=1, memory=False)
    assert {p.series for p in found["patches"]} == {"cpu1", "cpu2", "gram", "ncut"}
    assert sorted({p.channels for p in found["channels"]}) == [16, 32]
    assert np.isfinite(scale.exponent(found["patches"], "patches", "cpu1"))
    text = scale.to_markdown(found)
    assert "exponent" in text
    assert scale.to_dict(found)["patches"]["points"][0]["peak_bytes"] is None
    pytest.importorskip("matplotlib")
    save_figure(tmp_path / "scale.png", scale.draw(found))


def test_exponent_of_a_power_is_the_power():
    points = [scale.Point("cpu1", n, 8, 3e-6 * n**2.5, None) for n in (100, 300, 1000)]
    assert scale.exponent(points, "patches", "cpu1") == pytest.approx(2.5)
    assert np.isnan(scale.exponent(points[:1], "patches", "cpu1"))


def test_tables_are_markdown():
    assert markdown_table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | ---: |\n| 1 | 2 |\n"


def test_json_is_whole_or_not_there(tmp_path):
    save_json(tmp_path / "new" / "a.json", {"x": 1})
    with pytest.raises(TypeError):
        save_json(tmp_path / "new" / "a.json", {"x": object()})
    assert json.loads((tmp_path / "new" / "a.json").read_text()) == {"x": 1}
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.json"]


def test_compare_reports_ratios_and_never_fails():
    spec = importlib.util.spec_from_file_location("compare", COMPARE)
    compare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(compare)

    def run(seconds, **info):
        return {"stats": {"median": seconds}, "extra_info": info}

    old = {"b.py::x": run(1.0, ratio=0.5), "b.py::y": run(1.0), "b.py::z": run(1.0), "gone": run(1)}
    new = {"b.py::x": run(3.0, ratio=0.7), "b.py::y": run(1.2), "b.py::z": run(1.2), "new": run(1)}
    text = compare.compare(old, new, 1.1)
    assert "3 benchmarks in common; median new / old: 1.200" in text
    assert "3.000    2.500   b.py::x  slower" in text
    assert "ratio: 0.5 -> 0.7" in text
    assert "1.200    1.000   b.py::y\n" in text
    assert "only in old: gone" in text
    assert "only in new: new" in text
    assert "in common" in compare.compare({}, new, 1.1)

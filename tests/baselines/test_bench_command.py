"""`claid bench` from arguments to files, with the real offline backbone on small photos."""

import argparse
import json
import shutil

import numpy as np
import pytest
from claid_ext.benchmarks.features import photo_features
from claid_ext.cli import bench

pytest.importorskip("timm")
Image = pytest.importorskip("PIL.Image")


def claid_bench(*arguments):
    parser = argparse.ArgumentParser()
    bench.add_parser(parser.add_subparsers())
    return bench.run(parser.parse_args(["bench", *map(str, arguments)]))


@pytest.fixture(scope="module")
def weights():
    """The offline backbone's presence, without which these tests skip."""
    from claid_ext.backbones import BACKBONES
    from claid_ext.errors import WeightsUnavailableError
    from claid_ext.weights import read_checkpoint

    try:
        read_checkpoint(BACKBONES["focus_vits14"].package.find())
    except (WeightsUnavailableError, ImportError) as error:
        pytest.skip(f"no offline weights: {error}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, weights):
    """Two small photos with an annotated bright square each; their features are kept here too."""
    folder = tmp_path_factory.mktemp("photos")
    images = []
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 60, (112, 154, 3), dtype=np.uint8)
        pixels[28:84, 28 + 28 * i : 84 + 28 * i] += 150
        Image.fromarray(pixels).save(folder / f"{i}.png")
        box = [28 + 28 * i, 28, 84 + 28 * i, 84]
        instance = {"box": box, "crowd": False, "area": 56 * 56, "category": "square"}
        record = {"file": f"{i}.png", "width": 154, "height": 112, "instances": [instance]}
        images.append(record)
    (folder / "annotations.json").write_text(json.dumps({"images": images}))
    paths = [folder / record["file"] for record in images]
    photo_features(paths, "focus_vits14", keep=folder / "kept")
    return folder


def test_table4(folder, tmp_path, capsys):
    arguments = ["--methods", "tokencut", "cpu", "--rounds", 2, "--keep-features", folder / "kept"]
    assert claid_bench("table4", folder / "*.png", "-o", tmp_path, *arguments) == 0
    result = json.loads((tmp_path / "table4.json").read_text())
    assert [row["name"] for row in result["results"]] == ["tokencut", "cpu"]
    assert "focus_vits14" in result["setting"]
    assert "tau 0.4" in result["setting"]
    shown = capsys.readouterr().out
    assert "CLAID (C++)" in shown
    assert shown.strip() == (tmp_path / "table4.md").read_text().strip()
    assert len(list((folder / "kept").glob("*.npz"))) == 2


def test_recall_takes_kept_features(folder, tmp_path, monkeypatch):
    # The features are there, so no backbone is made again.
    monkeypatch.setattr("claid_ext.detector.Detector", None)
    kept = folder / "kept"
    claid_bench(
        "recall", folder, "--methods", "cpu", "grid", "--keep-features", kept, "-o", tmp_path
    )
    result = json.loads((tmp_path / "recall.json").read_text())
    assert result["results"]["grid 1x1..4x4"]["own"]["objects"] == 2
    assert result["results"]["grid 1x1..4x4"]["own"]["regions"] == 30
    assert (tmp_path / "recall.png").exists()


def test_kept_features_are_of_this_photo_alone(folder, tmp_path, monkeypatch):
    def detector(*_, **__):
        raise RuntimeError("a backbone is needed")

    monkeypatch.setattr("claid_ext.detector.Detector", detector)
    photo = folder / "0.png"
    kept = photo_features([photo], "focus_vits14", keep=folder / "kept")[0]
    assert kept.grid[0] * kept.grid[1] == len(kept.features)
    assert kept.covered[0] <= 112
    assert kept.covered[1] <= 154
    other = tmp_path / "0.png"
    other.write_bytes(photo.read_bytes())
    for asked in ((other, "focus_vits14"), (photo, "dino_vits8")):
        with pytest.raises(RuntimeError, match="a backbone is needed"):
            photo_features([asked[0]], asked[1], keep=folder / "kept")


def test_unreadable_photos_are_left_out_and_listed(folder, tmp_path, capsys):
    photos = tmp_path / "photos"
    shutil.copytree(folder, photos, ignore=shutil.ignore_patterns("kept"))
    (photos / "broken.png").write_bytes(b"no image")
    (photos / "0.png").write_bytes(b"")
    arguments = ["--methods", "cpu", "--keep-features", tmp_path / "kept", "-o", tmp_path / "out"]
    missing = photos / "missing"
    assert claid_bench("table4", photos, missing, *arguments, "--rounds", 1) == 1
    table, errors = capsys.readouterr()
    assert table.startswith("1 photos, focus_vits14")
    assert [line.partition(": ")[0] for line in errors.splitlines() if "photos/" in line] == [
        str(missing), str(photos / "0.png"), str(photos / "broken.png"),
    ]  # fmt: skip
    assert claid_bench("recall", photos, *arguments) == 1
    assert f"{photos / '0.png'}: the file is empty" in capsys.readouterr().err
    result = json.loads((tmp_path / "out" / "recall.json").read_text())
    curve = result["results"]["CLAID (C++)"]["own"]
    assert (curve["images"], curve["objects"]) == (1, 1)
    (photos / "1.png").unlink()
    with pytest.raises(ValueError, match=r"0\.png: the file is empty; .*broken"):
        claid_bench("table4", photos, *arguments)


def test_ablation_and_scale(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("claid_ext.benchmarks.scale.FIXED_PATCHES", 100)
    kept = ["--keep-features", folder / "kept"]
    claid_bench("ablation", folder, "--studies", "init", "-o", tmp_path, "--limit", 1, *kept)
    result = json.loads((tmp_path / "ablation_init.json").read_text())
    assert [row["value"] for row in result["results"]] == ["seeds", "random"]
    sizes = ["--patches", 60, 90, "--channels", 8, "--rounds", 1, "--no-memory"]
    claid_bench("scale", *sizes, "-o", tmp_path)
    assert "exponent" in (tmp_path / "scale.md").read_text()


def test_wrong_names_are_errors(folder, tmp_path):
    with pytest.raises(ValueError, match="--studies must be one or more of init"):
        claid_bench("ablation", folder, "--studies", "colour", "-o", tmp_path)
    with pytest.raises(ValueError, match="--tau and --min-patches are needed"):
        claid_bench("table4", folder, "--backbone", "resnet18", "-o", tmp_path)
    with pytest.raises(FileNotFoundError):
        claid_bench("table4", folder / "nothing", "-o", tmp_path)

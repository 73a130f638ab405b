"""`claid detect`, `backbones`, `doctor`, `demo`: files out, resumed, never half-written."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")
timm = pytest.importorskip("timm")

from claid_ext import RegionTree, files  # noqa: E402
from claid_ext.cli import backbones, demo, detect, doctor  # noqa: E402

BACKBONE = "vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a small network of timm's."""
    torch.manual_seed(0)
    network = timm.create_model(BACKBONE, num_classes=0)
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def claid(weights: Path, tmp_path: Path) -> Callable[..., int]:
    """`claid detect ARGUMENTS -o tmp_path/out` with the small network."""

    def run(*arguments: object, out: str = "out") -> int:
        parser = argparse.ArgumentParser()
        detect.add_parser(parser.add_subparsers())
        options = ["--backbone", BACKBONE, "--weights", str(weights), "--tau", "0.5"]
        given = ["detect", "-o", str(tmp_path / out), *options, *map(str, arguments)]
        return detect.run(parser.parse_args(given))

    return run


def _files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


LEDGER = "claid-detect.jsonl"


def test_json_and_pictures_of_a_folder(
    claid: Callable[..., int], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert claid(photos, photos / "none.jpg", "--draw") == 1
    printed = capsys.readouterr()
    assert "3 done, 0 skipped as done before, 2 failed" in printed.out
    assert f"{photos / 'none.jpg'}: no such file or folder" in printed.err
    assert f"{photos / 'truncated.jpg'}: " in printed.err
    stems = ("a", "sub/a", "sub/ü 1")
    assert _files(tmp_path / "out") == {LEDGER} | {
        f"{stem}{suffix}" for stem in stems for suffix in (".json", ".regions.png")
    }
    content = json.loads((tmp_path / "out" / "sub" / "ü 1.json").read_text())
    assert content["image"] == str(photos / "sub" / "ü 1.png")
    assert content["image_size"] == [96, 128]
    assert content["grid"] == [6, 8]
    assert content["detector"]["backbone"] == BACKBONE
    assert content["detector"]["options"] == {"tau": 0.5}
    for region in content["regions"]:
        assert set(region) == {
            *("box", "level", "parent", "size", "connectivity", "dominance", "dummy", "rle")
        }
    with Image.open(tmp_path / "out" / "a.regions.png") as picture:
        picture.load()


def test_done_is_skipped_until_something_changes(
    claid: Callable[..., int], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def done(*arguments: object) -> tuple[int, int]:
        claid(photos / "a.jpg", photos / "sub", *arguments)
        words = capsys.readouterr().out.split(": ")[-1].split()
        return int(words[0]), int(words[2])

    result = tmp_path / "out" / "a.json"
    assert done() == (3, 0)
    first = result.read_bytes()
    assert done() == (0, 3)
    assert done("--force") == (3, 0)
    assert result.read_bytes() == first
    assert done("--tau", "0.6") == (3, 0)
    assert done("--tau", "0.6", "--threads", "1") == (0, 3)
    assert done() == (3, 0)
    assert done("--draw") == (3, 0)
    assert done() == (0, 3)
    result.write_bytes(first[:100])
    assert done() == (1, 2)
    result.unlink()
    assert done() == (1, 2)
    assert result.read_bytes() == first
    stamp = (photos / "a.jpg").stat().st_mtime + 10
    os.utime(photos / "a.jpg", (stamp, stamp))
    assert done() == (1, 2)


def test_a_ledger_that_was_cut_short(
    claid: Callable[..., int], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    claid(photos / "sub")
    ledger = tmp_path / "out" / LEDGER
    whole = ledger.read_text()
    ledger.write_text(whole[:-40] + "\n\x00junk\n[1]\n" + whole.splitlines()[-1][:30])
    capsys.readouterr()
    assert claid(photos / "sub") == 0
    assert "1 done, 1 skipped" in capsys.readouterr().out
    assert claid(photos / "sub") == 0
    assert "0 done, 2 skipped" in capsys.readouterr().out
    assert {n for n in _files(tmp_path / "out") if n != LEDGER} == {"a.json", "ü 1.json"}


def test_images_of_one_name_do_not_share_a_file(
    claid: Callable[..., int], photos: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (40, 40), "red").save(photos / "a.png")
    assert claid(photos / "a.jpg", photos / "sub" / "a.jpg", photos / "a.png") == 0
    out = tmp_path / "out"
    owners = {p.name: json.loads(p.read_text())["image"] for p in out.glob("*.json")}
    assert sorted(owners.values()) == sorted(
        str(photos / n) for n in ("a.jpg", "a.png", "sub/a.jpg")
    )
    assert owners["a.json"] == str(photos / "a.jpg")
    before = {p.name: p.read_bytes() for p in out.glob("*.json")}
    assert claid(photos / "a.png", photos / "sub" / "a.jpg", photos / "a.jpg", "--force") == 0
    assert {p.name: p.read_bytes() for p in out.glob("*.json")} == before


def test_files_of_others_are_left_alone(
    claid: Callable[..., int], photos: Path, tmp_path: Path
) -> None:
    """OUT may be the folder of photos, with files of the same names."""
    (photos / "sub" / "a.json").write_text("mine")
    kept = {p: p.read_bytes() for p in (photos / "sub").iterdir()}
    assert claid(photos / "sub", "--draw", "--force", out="photos/sub") == 0
    assert claid(photos / "sub", "--draw", out="photos/sub") == 0
    assert {p: p.read_bytes() for p in kept} == kept
    made = _files(photos / "sub") - {p.name for p in kept}
    assert made == {
        *(LEDGER, "a.jpg.json", "a.jpg.regions.png", "ü 1.json", "ü 1.regions.png"),
    }


def test_coco_is_one_file_that_pycocotools_reads(
    claid: Callable[..., int], photos: Path, tmp_path: Path
) -> None:
    coco_module = pytest.importorskip("pycocotools.coco")
    assert claid(photos / "a.jpg", "--format", "coco") == 0
    assert claid(photos, "--format", "coco") == 1
    coco = coco_module.COCO(str(tmp_path / "out" / "coco.json"))
    assert sorted(image["file_name"] for image in coco.dataset["images"]) == sorted(
        str(photos / n) for n in ("a.jpg", "sub/a.jpg", "sub/ü 1.png")
    )
    ids = [annotation["id"] for annotation in coco.dataset["annotations"]]
    assert ids == list(range(1, len(ids) + 1))
    assert ids
    for annotation in coco.dataset["annotations"]:
        assert coco.annToMask(annotation).sum() == annotation["area"]


def test_npz_is_a_tree_and_its_place_in_the_image(
    claid: Callable[..., int], photos: Path, tmp_path: Path
) -> None:
    assert claid(photos / "a.jpg", "--format", "npz") == 0
    assert claid(photos / "a.jpg", out="as_json") == 0
    tree = RegionTree.load(tmp_path / "out" / "a.npz")
    content = json.loads((tmp_path / "as_json" / "a.json").read_text())
    with np.load(tmp_path / "out" / "a.npz") as file:
        assert file["image_size"].tolist() == content["image_size"]
        assert file["covered"].tolist() == content["covered"]
        assert file["pixel_boxes"].tolist() == [r["box"] for r in content["regions"]]
    assert tree.size.tolist() == [r["size"] for r in content["regions"]]


def test_a_crash_in_the_middle_of_a_file_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "a.json"
    assert files.write_whole(path, lambda part: part.write_text("old")) == 3

    def fail(part: Path) -> None:
        part.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"No space left.*a\.json"):
        files.write_whole(path, fail)
    assert path.read_text() == "old"
    assert _files(tmp_path) == {"sub/a.json"}


def test_killed_and_run_again(
    claid: Callable[..., int],
    photo: Callable[..., Image.Image],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Stopped within the third image: what is there is whole, and a second run adds the rest."""
    many = tmp_path / "many"
    many.mkdir()
    for seed in range(6):
        photo(seed=seed).save(many / f"{seed}.png")

    class Killed(BaseException):
        pass

    def write_whole(path: Path, write: Callable[[Path], object]) -> int:
        if path.name == "2.json":
            raise Killed
        return files.write_whole(path, write)

    with monkeypatch.context() as patch:
        patch.setattr(detect, "write_whole", write_whole)
        with pytest.raises(Killed):
            claid(many)
    assert _files(tmp_path / "out") == {LEDGER, "0.json", "1.json"}
    for name in ("0.json", "1.json"):
        json.loads((tmp_path / "out" / name).read_text())
    assert claid(many) == 0
    assert "4 done, 2 skipped" in capsys.readouterr().out


def test_an_output_folder_that_cannot_be(
    claid: Callable[..., int], photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        claid(photos / "a.jpg", out="file")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        claid(photos / "a.jpg", "--weights", "none.pth")


def test_backbones_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    from claid_ext.backbones import BACKBONES

    assert backbones.run(argparse.Namespace()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", *BACKBONES]
    assert "timm/vit_base_patch8_224.dino" in lines[3]


def test_doctor_says_what_is_here(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert doctor.run(argparse.Namespace()) == 0
    found = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines())
    assert found["torch"].strip() == torch.__version__.partition("+")[0]
    assert "scalar" in found["SIMD usable here"]
    assert "HF_HUB_OFFLINE" in found["hub"]
    assert {"CUDA in detect", "focus_vits14", "efficientnet_lite0", "faiss-cpu"} <= set(found)


def test_demo_makes_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], photo: Any, patch_means: Any
) -> None:
    """The demo's own step, on a small picture; its photos are all there."""
    pytest.importorskip("skimage")
    from claid_ext import Detector

    assert [p.name for p in demo.demo_photos()] == list(demo.PHOTOS)
    photo().save(tmp_path / "disc.png")
    small = Detector(patch_means, patch_size=8, tau=0.9, min_patches=2)
    demo.show_regions([tmp_path / "disc.png"], small, tmp_path / "out")
    assert _files(tmp_path / "out") == {"disc.json", "disc.regions.png"}
    assert "regions kept of" in capsys.readouterr().out

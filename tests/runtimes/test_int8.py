"""int8: calibrated once on 24 photos, kept, and told apart from other calibrations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("openvino")
pytest.importorskip("nncf")

from claid_ext import Detector, RegionDescriptor  # noqa: E402
from claid_ext.backbones import load_backbone  # noqa: E402
from claid_ext.backbones.runtimes.converted import CALIBRATION_PHOTOS  # noqa: E402
from claid_ext.descriptors.networks import ConvNetwork  # noqa: E402
from claid_ext.errors import NotCalibratedError  # noqa: E402

OPTIONS: dict[str, Any] = {"runtime": "openvino", "precision": "int8", "device": "cpu"}


def _cosine(one: Any, other: Any) -> float:
    return float(torch.nn.functional.cosine_similarity(one, other, dim=-1).mean())


def test_a_detector_is_calibrated_once_and_then_everywhere(
    no_cache: Any, vit: Callable[..., Any], pictures: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    detector = Detector(vit(), tau=0.5, min_patches=2, **OPTIONS)
    assert not detector.backbone.runner.calibrated
    for use in (lambda: detector(pictures[0]), detector.backbone.running):
        with pytest.raises(NotCalibratedError, match=r"calibrate\(photos\)"):
            use()
    detector.calibrate(pictures)
    assert capfd.readouterr().out == "", "NNCF prints its progress"
    assert detector.backbone.runner.calibrated
    assert len(detector(pictures[:2])) == 2
    made = detector.backbone.running()
    assert made["precision"] == "int8"
    assert len(made["calibration"]) == 16

    other = Detector(vit(), **OPTIONS)
    other.calibrate([])  # kept by the weights: no photo is looked at
    assert other.backbone.running() == made
    plain = load_backbone(vit(), device="cpu")
    pixels = plain.preprocess(pictures[0])[0][None]
    assert _cosine(other.backbone.features(pixels), plain.features(pixels)) > 0.97


def test_other_photos_are_another_calibration(
    no_cache: Any, vit: Callable[..., Any], pictures: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    darker = [one.point(lambda value: value // 4) for one in pictures]
    for folder, photos in (("a", pictures), ("b", pictures), ("c", darker)):
        monkeypatch.setenv("CLAID_CACHE", str(no_cache / folder))
        backbone = load_backbone(vit(), **OPTIONS)
        backbone.calibrate(photos)
        found.append(backbone.running()["calibration"])
    assert found[0] == found[1] != found[2]


def test_a_descriptor_is_calibrated(
    no_cache: Any, network: Callable[..., Any], pictures: list[Any]
) -> None:
    module = network("test_efficientnet")

    class Maps(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, batch: Any) -> Any:
            return self.module.forward_features(batch)

    running = ("openvino", "int8")
    maps = ConvNetwork(Maps(), name="n", device="cpu", running=running, convertible=True)
    descriptor = RegionDescriptor(torch.nn.Identity(), device="cpu", pooling="mean")
    descriptor.network = maps
    with pytest.raises(NotCalibratedError):
        descriptor.manifest()
    descriptor.calibrate(pictures)
    assert {"precision": "int8"}.items() <= descriptor.manifest().items()
    plain = ConvNetwork(Maps(), name="n", device="cpu")
    pixels = plain.to_input(pictures[1])[0][None]
    got, wanted = (one.forward(pixels)[0].movedim(1, -1) for one in (maps, plain))
    assert _cosine(got, wanted) > 0.9


def test_photos_that_cannot_be_read_are_passed_over(
    no_cache: Any, tmp_path: Any, vit: Callable[..., Any], pictures: list[Any]
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    backbone = load_backbone(vit(), **OPTIONS)
    with pytest.raises(ValueError, match=f"{CALIBRATION_PHOTOS} photos, got 23 that can be read"):
        backbone.calibrate([*pictures[:23], tmp_path / "broken.jpg", tmp_path / "none.jpg"])
    assert not backbone.runner.calibrated
    backbone.calibrate([tmp_path / "broken.jpg", *pictures[:24]])
    assert backbone.runner.calibrated


def test_a_damaged_calibration_is_none(
    no_cache: Any, vit: Callable[..., Any], pictures: list[Any]
) -> None:
    load_backbone(vit(), **OPTIONS).calibrate(pictures)
    (folder,) = no_cache.glob("int8-*")
    (folder / "model.xml").write_text("<net")
    backbone = load_backbone(vit(), **OPTIONS)
    with pytest.raises(NotCalibratedError):
        backbone.running()
    backbone.calibrate(pictures)
    assert backbone.running()["precision"] == "int8"


def test_other_precisions_need_no_photos(vit: Callable[..., Any]) -> None:
    for options in ({"runtime": "torch"}, {"runtime": "openvino", "precision": "float32"}):
        backbone = load_backbone(vit(), device="cpu", **options)
        backbone.calibrate([])
        assert "calibration" not in backbone.running()


def test_extract_calibrates_before_its_workers_begin(
    no_cache: Any,
    tmp_path: Any,
    network: Callable[..., Any],
    pictures: list[Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("pyarrow")
    from claid_ext.cli import main
    from claid_ext.scale import DataSet

    (tmp_path / "photos").mkdir()
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / "photos" / f"{number:02}.png")
    torch.save(network("test_vit").state_dict(), tmp_path / "vit.pth")
    command = ["extract", f"{tmp_path}/photos", "-o", f"{tmp_path}/data", "--workers", "1"]
    command += ["--backbone", "test_vit", "--weights", f"{tmp_path}/vit.pth", "--tau", "0.5"]
    command += ["--min-patches", "2", "--descriptor", "tokens"]
    assert main([*command, "--runtime", "openvino", "--precision", "int8"]) == 0
    assert f"{len(pictures)} new" in capsys.readouterr().out
    made = DataSet(tmp_path / "data").manifest
    assert made["regions"]["precision"] == "int8"
    assert made["regions"]["calibration"] == made["descriptor"]["calibration"]

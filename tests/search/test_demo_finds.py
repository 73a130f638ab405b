"""With the two real networks of the extra [offline]: what is pasted into a photo is found there."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("torch")
pytest.importorskip("faiss")
pytest.importorskip("timm")
pytest.importorskip("skimage")
pytest.importorskip("onnx")

from claid_ext import InstanceIndex, RegionDescriptor
from claid_ext.cli import demo
from claid_ext.images import load_image
from claid_ext.overlap import box_iou


def test_the_demo_finds_what_it_pastes(tmp_path, capsys, real_detector, real_descriptor):
    """Each thing in each photo it is pasted into: before all photos without it, and in its place.

    The demo's own second step, on its own photos.
    """
    folder = tmp_path / "demo"
    folder.mkdir()
    demo.find_again(demo.demo_photos(), real_detector, real_descriptor, folder)
    printed = capsys.readouterr().out
    found = re.findall(r"(\S+)-with-(\w+)\.png at rank (\d+), box IoU ([\d.]+)", printed)
    assert [(photo, thing) for photo, thing, _, _ in found] == [
        ("rocket", "cup"), ("motorcycle_left", "cup"), ("chelsea", "helmet")
    ]  # fmt: skip
    shown = {thing: sum(of == thing for _, of, _, _ in found) for _, thing, _, _ in found}
    for _, thing, rank, overlap in found:
        assert int(rank) <= shown[thing]
        assert float(overlap) >= 0.5
    for thing in shown:
        with load_image(folder / f"found-{thing}.png") as sheet:
            assert sheet.width > 4 * 240
    # It goes on where it was: the same index, nothing pasted or described anew.
    with InstanceIndex.open(folder / "index") as index:
        before = index.images
    demo.find_again(demo.demo_photos(), real_detector, real_descriptor, folder)
    assert capsys.readouterr().out == printed
    with InstanceIndex.open(folder / "index") as index:
        assert index.images == before


@pytest.mark.parametrize(
    ("network", "pooling"),
    [("conv", "mask"), ("tokens", "gem"), ("tokens", "mask")],
)
def test_a_pasted_thing_is_first_with_other_poolings(
    tmp_path, real_detector, cup_on_cat, network, pooling
):
    """Through detected regions, their masks and the detector's own tokens."""
    query, box, photos, both, pasted = cup_on_cat
    source = "efficientnet_lite0" if network == "conv" else real_detector.backbone
    descriptor = RegionDescriptor(source, pooling=pooling)
    made = InstanceIndex.create(tmp_path / "i", detector=real_detector, descriptor=descriptor)
    with made as index:
        assert index.add(sorted(photos.iterdir())).failed == []
        first, second, third = index.search((query, box), 3)[0]
    assert first.image == str(both)
    assert first.score > second.score >= third.score
    assert box_iou([first.box], [pasted])[0, 0] >= 0.5

"""Regions, pooling and weights of descriptors."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
pytest.importorskip("torchvision")

from claid_ext import RegionDescriptor  # noqa: E402
from claid_ext.descriptors.pooling import (  # noqa: E402
    FeatureMap,
    cell_cover,
    pool_regions,
)
from claid_ext.regions import Regions, region_source  # noqa: E402


def bilinear(values, y, x):
    """RoI-align's sample of (C, h, w) at cells (y, x), cell i having its centre at i."""
    _, height, width = values.shape
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(len(values))
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    below, right = min(top + 1, height - 1), min(left + 1, width - 1)
    b, a = y - top, x - left
    upper = (1 - a) * values[:, top, left] + a * values[:, top, right]
    lower = (1 - a) * values[:, below, left] + a * values[:, below, right]
    return (1 - b) * upper + b * lower


def naive_bins(values, box, bins=7, samples=2):
    x0, y0, x1, y1 = box
    out = np.zeros((len(values), bins, bins))
    steps = (np.arange(bins * samples) + 0.5) / (bins * samples)
    for i, v in enumerate(steps):
        for j, u in enumerate(steps):
            sample = bilinear(values, y0 + v * (y1 - y0) - 0.5, x0 + u * (x1 - x0) - 0.5)
            out[:, i // samples, j // samples] += sample / samples**2
    return out


def unit_cells(bins):
    """(C, 3, 3) to 9 C numbers: cell by cell, row by row, each of length 1."""
    cells = [bins[:, row, column] for row in range(3) for column in range(3)]
    return np.concatenate([cell / np.linalg.norm(cell) for cell in cells])


@pytest.mark.parametrize("pooling", ["mean", "max", "gem", "mask", "cells"])
def test_pooling_equals_a_naive_implementation(pooling):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 6, 9)).astype(np.float32)
    extent, covered = (96.0, 288.0), (84.0, 280.0)  # 16 and 32 pixels a cell
    boxes = np.array([[10, 5, 200, 70], [0, 0, 288, 96], [33, 40, 60, 47]], np.float32)
    masks = rng.random((3, 6, 20)) < 0.5
    got = pool_regions(FeatureMap(torch.from_numpy(values), extent), boxes, masks, covered, pooling)
    cover = cell_cover(masks, covered, (6, 9), extent)
    for i, box in enumerate(boxes / [32, 16, 32, 16]):
        bins = naive_bins(values, box)
        wanted = {
            "mean": bins.mean((1, 2)),
            "max": bins.max((1, 2)),
            "gem": np.cbrt((np.maximum(bins, 1e-6) ** 3).mean((1, 2))),
            "mask": naive_bins(values * cover[i], box).sum((1, 2))
            / naive_bins(cover[i][None], box).sum(),
            "cells": unit_cells(naive_bins(values, box, 3, 4)),
        }[pooling]
        np.testing.assert_allclose(got[i].numpy(), wanted, atol=1e-5)


def test_cells_cover_masks_by_area_and_not_beyond_the_grid():
    cover = cell_cover(np.ones((1, 2, 3), bool), (20.0, 30.0), (3, 4), (24.0, 40.0))
    np.testing.assert_allclose(cover[0], np.outer([1, 1, 0.5], [1, 1, 1, 0]), atol=1e-6)


def test_rival_regions():
    image = np.zeros((60, 100, 3), np.uint8)
    grid, full, rmac = (region_source(name)([image])[0] for name in ("grid", "full", "rmac"))
    assert len(grid) == 30
    assert grid.boxes[5:14, 2].max() == 100
    np.testing.assert_array_equal(full.boxes, [[0, 0, 100, 60]])
    for level in (1, 2, 3):
        side = rmac.boxes[rmac.level == level]
        np.testing.assert_allclose(side[:, 2] - side[:, 0], 120 / (level + 1), atol=1e-4)
        assert side[:, 2].max() == pytest.approx(100)
        assert side[:, 3].max() == pytest.approx(60)
    with pytest.raises(ValueError, match="regions must be one of"):
        region_source("boxes")
    with pytest.raises(ValueError, match="needs a Detector"):
        region_source("detect")


@pytest.mark.parametrize(
    ("wrap", "prefix"),
    [(lambda s: s, ""), (lambda s: {"state_dict": s, "epoch": 1}, "module.")],
    ids=["torchvision", "swav"],
)
def test_resnet50_loads_local_files_in_their_own_names(tmp_path, wrap, prefix):
    torch.manual_seed(0)
    state = timm.create_model("resnet50", num_classes=10).state_dict()
    state = {name: weight for name, weight in state.items() if not name.startswith("fc.")}
    content = {prefix + name: weight for name, weight in state.items()}
    content[prefix + "prototypes.weight"] = torch.zeros(3, 3)
    torch.save(wrap(content), tmp_path / "w.pth")
    descriptor = RegionDescriptor(
        "resnet50", weights=tmp_path / "w.pth", layer="layer3", pooling="gem"
    )
    loaded = descriptor.network.module.network.state_dict()
    assert all(torch.equal(loaded[name], weight) for name, weight in state.items())
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    vectors = descriptor([image], region_source("grid")([image]))[0]
    assert vectors.shape == (30, descriptor.dim) == (30, 1024)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    del content[prefix + "layer2.0.conv1.weight"]
    torch.save(wrap(content), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"layer2\.0\.conv1\.weight missing"):
        RegionDescriptor("resnet50", weights=tmp_path / "w.pth")


def test_any_module_and_the_same_answer_in_any_batch():
    module = torch.nn.Conv2d(3, 5, 16, stride=16)
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, size, dtype=np.uint8) for size in
              [(64, 96, 3), (20, 30, 3), (64, 96, 3), (1, 1, 3), (50, 2000, 3)]]  # fmt: skip
    source = region_source("grid")
    together = RegionDescriptor(module, pooling="mean")(images, source(images))
    for image, its in zip(images, together, strict=True):
        alone = RegionDescriptor(module, pooling="mean", batch_size=1)([image], source([image]))[0]
        np.testing.assert_allclose(its, alone, atol=1e-5)
    with pytest.raises(ValueError, match="made for an image of"):
        RegionDescriptor(module)([images[0]], [Regions.of_boxes((9, 9), [[0, 0, 9, 9]])])


@pytest.mark.parametrize(("given", "sizes"), [(None, [1, 1, 1]), (2, [2, 1])])
def test_on_a_cpu_images_go_through_the_network_one_by_one(given, sizes):
    """Unless more are asked for: larger batches take longer per image there."""
    seen = []

    class Mean(torch.nn.Module):
        def forward(self, batch):
            seen.append(len(batch))
            return torch.nn.functional.avg_pool2d(batch, 16)

    images = [np.zeros((64, 64, 3), np.uint8)] * 3
    regions = [Regions.whole((64, 64))] * 3
    describe = RegionDescriptor(Mean(), batch_size=given, device="cpu")
    describe.maps(images, regions)
    assert seen == sizes


def test_cells_of_all_layers_but_the_last():
    class TwoLayers(torch.nn.Module):
        def forward(self, batch):
            return [torch.nn.functional.avg_pool2d(batch, 8), batch[:, :2, ::16, ::16]]

    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    regions = region_source("grid")([image])
    (vectors,) = RegionDescriptor(TwoLayers(), pooling="cells")([image], regions)
    assert vectors.shape == (30, 9 * 3 + 2)
    (last,) = RegionDescriptor(TwoLayers(), pooling="mean")([image], regions)
    direction = last[:, 3:] / np.linalg.norm(last[:, 3:], axis=1, keepdims=True)
    np.testing.assert_allclose(vectors[:, 27:], direction / 2**0.5, atol=1e-5)
    (one,) = RegionDescriptor(torch.nn.AvgPool2d(8), pooling="cells")([image], regions)
    np.testing.assert_allclose(one, vectors[:, :27] * 2**0.5, atol=1e-5)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="pooling must be one of"):
        RegionDescriptor(torch.nn.Identity(), pooling="median")
    with pytest.raises(ValueError, match="detector's network"):
        RegionDescriptor("tokens")
    with pytest.raises(ValueError, match="descriptor must be one of"):
        RegionDescriptor("no_such_network")
    with pytest.raises(TypeError, match="must be a name"):
        RegionDescriptor(3)

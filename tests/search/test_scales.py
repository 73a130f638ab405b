"""Photos looked at in several sizes: by the detector for regions, by the network for vectors."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
pytest.importorskip("timm")
pytest.importorskip("faiss")
from claid_ext import Detector, InstanceIndex, RegionDescriptor  # noqa: E402
from claid_ext.descriptors.networks import ConvNetwork  # noqa: E402
from claid_ext.descriptors.pooling import FeatureMap, pool_regions  # noqa: E402
from claid_ext.errors import IndexMismatchError  # noqa: E402
from claid_ext.regions import Regions, region_source  # noqa: E402
from PIL import Image, ImageFilter  # noqa: E402

PATCH = 8


def patch_means(batch):
    """Eight numbers a patch, of its colour and how it changes, like a network's at any scale."""
    means = torch.nn.functional.avg_pool2d(batch, PATCH)
    return torch.cat([means, means**2, means[:, :2].abs()], 1).flatten(2).transpose(1, 2)


@pytest.fixture
def detector():
    return Detector(patch_means, patch_size=PATCH, tau=0.9, min_patches=4)


@pytest.fixture(scope="module")
def picture():
    """A large thing and a small one, 3 x 3 patches of which fit at scale 2 only, on green."""
    pixels = np.full((160, 240, 3), (20, 200, 20), np.uint8)
    pixels[24:104, 24:120] = (220, 30, 30)
    pixels[120:132, 200:212] = (30, 30, 230)
    return Image.fromarray(pixels)


def blobs(seed):
    noise = np.random.default_rng(seed).integers(0, 256, (160, 240, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(9)), np.float32)
    return np.clip(128 + 12 * (smooth - 128), 0, 255).astype(np.uint8)


def iou(a, b):
    return torchvision.ops.box_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy()


def test_a_scale_multiplies_the_grid(detector, picture):
    (once,), (twice,) = detector(picture), detector.at(2)(picture)
    assert once.tree.grid == (20, 30)
    assert twice.tree.grid == (40, 60)
    assert once.image_size == twice.image_size
    assert twice.covered == (160.0, 240.0)
    assert detector.at(2).at(1)(picture)[0].tree == once.tree


def test_small_things_are_found_enlarged(detector, picture):
    once, twice = (region_source("detect", detector, [scale])([picture])[0] for scale in (1, 2))
    small = np.array([[200, 120, 212, 132]], np.float32)
    assert iou(small, twice.boxes).max() > 0.5 > iou(small, once.boxes).max()


@pytest.mark.parametrize("seed", range(3))
def test_regions_of_all_scales_are_joined_without_their_likes(detector, seed):
    photo = blobs(seed)
    alone = [
        region_source("detect", detector, [scale], max_regions=None)([photo])[0] for scale in (1, 2)
    ]
    (joined,) = region_source("detect", detector, [2, 1], max_regions=None)([photo])
    unlike = ~(iou(alone[0].boxes, alone[1].boxes) >= 0.8).any(axis=1)
    assert 0 < unlike.sum() < len(alone[0])
    for name in ("boxes", "level", "size", "connectivity", "dominance"):
        wanted = np.concatenate([getattr(alone[1], name), getattr(alone[0], name)[unlike]])
        np.testing.assert_array_equal(getattr(joined, name), wanted, err_msg=name)
    # Two fine patches a side for each coarse one.
    coarse = alone[0].masks[unlike].repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(joined.masks, np.concatenate([alone[1].masks, coarse]))


def test_masks_reach_grids_that_are_no_multiple(detector):
    """At scale 1.5, each mask still covers its box, to a patch of its own scale."""
    pixels = np.full((131, 203, 3), (20, 200, 20), np.uint8)
    pixels[40:100, 50:140] = (220, 30, 30)
    (joined,) = region_source("detect", detector, (1, 1.5))([pixels])
    rows, columns = joined.masks.shape[1:]
    height, width = joined.covered[0] / rows, joined.covered[1] / columns
    for box, mask in zip(joined.boxes, joined.masks, strict=True):
        y, x = np.nonzero(mask)
        around = [x.min() * width, y.min() * height, (x.max() + 1) * width, (y.max() + 1) * height]
        np.testing.assert_allclose(around, box, atol=PATCH)


def test_a_photo_without_regions_is_whole_at_any_scales(picture):
    detector = Detector(patch_means, patch_size=PATCH, dominance=1.0)  # all are dummies
    (found,) = region_source("detect", detector, (1, 2))([picture])
    np.testing.assert_array_equal(found.boxes, [[0, 0, 240, 160]])
    assert found.level.tolist() == [0]


def test_an_index_keeps_its_scales(tmp_path, detector, picture):
    network = torch.nn.Conv2d(3, 5, 16, stride=16)
    descriptor = RegionDescriptor(network, pooling="mean")
    options = {"descriptor": descriptor, "detector": detector}
    with InstanceIndex.create(tmp_path / "i", scales=(2, 1), **options) as index:
        assert index.manifest["regions"]["scales"] == [1.0, 2.0]
        index.add_described([])
        assert index.source.scales == (1.0, 2.0)
    for scales in (None, (1, 2), [2.0, 1.0]):
        with InstanceIndex.open(tmp_path / "i", scales=scales, **options) as index:
            assert index.source.scales == (1.0, 2.0)
    with pytest.raises(IndexMismatchError, match=r"scales: the index has \[1.0, 2.0\], got \[1\]"):
        InstanceIndex.open(tmp_path / "i", scales=[1], **options)
    with InstanceIndex.create(tmp_path / "one", **options) as index:
        assert index.source.scales == (1.0,)  # what suits a callable
    with InstanceIndex.create(
        tmp_path / "own", descriptor=descriptor, detector=detector.at(3)
    ) as index:
        assert index.source.scales == (3.0,)


def test_kept_dummies_are_kept_at_all_scales(detector, picture):
    few, many = (
        region_source("detect", detector, (1, 2), with_dummies=kept)([picture])[0]
        for kept in (False, True)
    )
    assert len(many) > len(few)


def test_tokens_are_those_of_scale_1(picture):
    detector = Detector(patch_means, patch_size=PATCH, tau=0.9, min_patches=4, keep_features=True)
    (joined,) = region_source("detect", detector, (1, 2))([picture])
    (plain,) = detector([picture])
    tokens, covered = joined.tokens
    assert torch.equal(tokens.reshape(-1, tokens.shape[2]), plain.features)
    assert covered == plain.covered
    descriptor = RegionDescriptor(detector.backbone, pooling="mean")
    boxes = Regions.of_boxes(joined.image_size, joined.boxes)
    np.testing.assert_allclose(
        descriptor([picture], [joined])[0], descriptor([picture], [boxes])[0], atol=1e-5
    )
    (large,) = region_source("detect", detector, (2,))([picture])
    assert large.tokens is None


def test_small_regions_are_seen_enlarged():
    network = ConvNetwork(torch.nn.Conv2d(3, 5, 16, stride=16), name="n", octaves=3)
    sides = np.array([[600, 600], [224, 224], [300, 150], [112, 112], [111, 111], [3, 2], [0, 0]])
    boxes = np.concatenate([np.zeros((len(sides), 2)), sides], 1).astype(np.float32)
    assert network.octave_of(boxes, (600, 1000)).tolist() == [0, 0, 1, 1, 2, 2, 2]
    # Of 4096 pixels the first level sees 1024: there, all are a quarter as large.
    assert network.octave_of(boxes, (600, 4096)).tolist() == [1, 2, 2, 2, 2, 2, 2]


def test_octaves_pool_from_the_enlarged_photo():
    torch.manual_seed(0)
    module = torch.nn.Conv2d(3, 5, 16, stride=16)
    image = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    )
    boxes = np.array([[10, 20, 310, 290], [50, 60, 150, 140], [0, 0, 400, 300]], np.float32)
    regions = Regions.of_boxes((300, 400), boxes)
    (got,) = RegionDescriptor(module, pooling="mean", octaves=2)([image], [regions])
    one = ConvNetwork(module, name="n")
    for size, rows in [((400, 300), [0, 2]), ((800, 600), [1])]:
        pixels, extent = one.to_input(image.resize(size, Image.Resampling.BICUBIC))
        part = 400 / size[0]
        values = module(pixels[None])[0].detach()
        extent = (extent[0] * part, extent[1] * part)
        wanted = pool_regions(FeatureMap(values, extent), boxes[rows], None, None, "mean")
        wanted = torch.nn.functional.normalize(wanted).numpy()
        np.testing.assert_allclose(got[rows], wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("scales", "error", "message"),
    [
        ((), ValueError, "scales must be one or more"),
        ((0,), ValueError, "scale must be from 0.1 to 10"),
        ((1, float("nan")), ValueError, "scale must be from 0.1 to 10"),
        ((11,), ValueError, "scale must be from 0.1 to 10"),
    ],
)
def test_wrong_scales(detector, scales, error, message):
    with pytest.raises(error, match=message):
        region_source("detect", detector, scales)


def test_wrong_scales_and_octaves_by_name():
    with pytest.raises(ValueError, match="scales and with_dummies are for"):
        region_source("grid", scales=(1,))
    with pytest.raises(TypeError, match="scale must be a number"):
        Detector(patch_means, patch_size=PATCH, scale="2")
    with pytest.raises(ValueError, match="octaves must be from 1 to 4"):
        RegionDescriptor(torch.nn.Identity(), octaves=5)
    with pytest.raises(ValueError, match="octaves is not for the tokens"):
        RegionDescriptor(
            Detector(patch_means, patch_size=PATCH).backbone, octaves=2, pooling="mean"
        )

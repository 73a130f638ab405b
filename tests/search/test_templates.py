"""A query's vector and templates, against plain sums over pixels and by their properties."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
from claid_ext.descriptors.basis import Basis, unit  # noqa: E402
from claid_ext.descriptors.maps import photo_maps, region_vectors, view_maps  # noqa: E402
from claid_ext.descriptors.networks import ConvNetwork  # noqa: E402
from claid_ext.search import templates as module  # noqa: E402
from claid_ext.search.templates import SIDES, query_templates  # noqa: E402
from PIL import Image  # noqa: E402


class Squares(torch.nn.Module):
    """Mean colours of squares of 16 pixels, and of 32."""

    def forward(self, batch):
        pool = torch.nn.functional.avg_pool2d
        return [pool(batch, 16), pool(batch, 32)]


@pytest.fixture(scope="module")
def network():
    return ConvNetwork(Squares(), name="made", layers=("fine", "coarse"))


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (15, 20, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((640, 480), Image.Resampling.BICUBIC)


def area_mean(cells, box):
    """Mean of cells (h, w, d) over a box in cells, by the area of each that is in it; unit."""
    total = 0
    for row in range(cells.shape[0]):
        for column in range(cells.shape[1]):
            high = min(row + 1, box[3]) - max(row, box[1])
            wide = min(column + 1, box[2]) - max(column, box[0])
            total = total + max(high, 0) * max(wide, 0) * cells[row, column]
    return total / np.linalg.norm(total)


def test_native_parts_are_area_means_of_the_photos_own_cells(network, image):
    box = np.array([50.0, 70, 350, 290])
    (made,) = query_templates(network, image, box)
    (view, *_), _ = module._views(network, image, box)
    assert view.box == (0, 0, 640, 480)  # 300 pixels around leave this corner's side nothing
    (maps,) = photo_maps(network, [image])
    fine, coarse = (unit(one.values.permute(1, 2, 0).numpy()) for one in maps)
    for part in range(9):
        row, column = divmod(part, 3)
        x = 50 + 100 * column
        y = 70 + 220 / 3 * row
        wanted = area_mean(fine, np.array([x, y, x + 100, y + 220 / 3]) / 16)
        np.testing.assert_allclose(made.parts[0, part], wanted, atol=1e-5)
    np.testing.assert_allclose(made.means[0], area_mean(coarse, box / 32), atol=1e-5)
    assert made.aspect == pytest.approx(300 / 220)
    assert made.sides[0] == pytest.approx((300 * 220) ** 0.5)


def test_sizes(network, image):
    (made,) = query_templates(network, image, [50, 70, 350, 290])
    np.testing.assert_allclose(made.sides[1:], SIDES, rtol=1e-5)
    (small,) = query_templates(network, image, [100, 100, 120, 120])
    np.testing.assert_allclose(small.sides, [20, 24, 34, 48, 68, 80], rtol=1e-5)
    (least,) = query_templates(network, image, [100, 100, 101, 101])
    np.testing.assert_allclose(least.sides, [1, 4], rtol=1e-5)


def test_views_have_the_margin_and_the_size(network, image):
    box = np.array([300.0, 200, 340, 260])  # 60 pixels around
    (native, *views), sides = module._views(network, image, box)
    # To whole cells of 32 pixels.
    assert (native.box, native.size) == ((224, 128, 416, 320), (192, 192))
    for view, side in zip(views, sides[1:], strict=True):
        scale = side / 2400**0.5
        margin = min(60, 272 / scale)
        wanted = np.array([300 - margin, 200 - margin, 340 + margin, 260 + margin])
        np.testing.assert_allclose(view.box, wanted, atol=1)
        height, width = view.box[3] - view.box[1], view.box[2] - view.box[0]
        np.testing.assert_allclose(view.size, (height * scale, width * scale), atol=0.5001)


@pytest.mark.parametrize("size", [(640, 480), (854, 480), (1501, 1000), (100, 37)])
def test_a_native_views_cells_are_the_photos_own(network, size):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    box = np.array([0.7 * size[0], 0.55 * size[1], 0.75 * size[0], 0.65 * size[1]])
    ((fine, coarse),) = photo_maps(network, [image])
    (native, *_), _ = module._views(network, image, box)
    ((fine_part, coarse_part),) = view_maps(network, [native])
    for whole, part in ((fine, fine_part), (coarse, coarse_part)):
        rows, columns = part.values.shape[1:]
        cell = np.array(whole.extent) / whole.values.shape[1:]
        np.testing.assert_allclose(np.array(part.extent) / (rows, columns), cell, rtol=1e-6)
        row, column = (np.array(native.box[1::-1]) / cell).round().astype(int)
        same = whole.values[:, row : row + rows, column : column + columns]
        torch.testing.assert_close(part.values, same, atol=0.05, rtol=0)


def test_vector_is_of_the_native_size_and_three_others(network, image):
    box = np.array([100.0, 80, 300, 330])
    views, sides = module._views(network, image, box)
    each = {
        round(side): region_vectors(maps, [box - np.tile(view.box[:2], 2)])[0]
        for side, view, maps in zip(sides, views, view_maps(network, views), strict=True)
    }
    native = each[round(sides[0])]
    wanted = unit(native + (each[48] + each[96] + each[192]) / 3)
    (made,) = query_templates(network, image, box)
    np.testing.assert_allclose(made.vector, wanted, atol=1e-5)


def test_cells_lie_inside_the_box(network):
    pixels = np.zeros((480, 640, 3), np.uint8)
    pixels[..., 2] = 255
    pixels[100:300, 200:440] = (255, 0, 0)
    (made,) = query_templates(network, Image.fromarray(pixels), [200, 100, 440, 300])
    # 15 x 12.5 cells native, and 272 x 227 pixels at most of the others.
    assert 150 < len(made.cells) <= 4 * 150
    assert len(made.cells) > 13 * 12
    red = np.sign(made.cells) == np.sign(made.cells[len(made.cells) // 2])
    assert red.all()
    (large,) = query_templates(network, Image.fromarray(pixels), [0, 0, 640, 480])
    assert len(large.cells) <= 4 * 150


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((640, 480), [3, 4, 4, 5]),
        ((640, 480), [639, 479, 640, 480]),
        ((640, 480), [0, 0, 640, 480]),
        ((640, 480), [0, 100, 640, 101]),
        ((640, 480), [100, 0, 101.5, 480]),
        ((640, 480), [500.25, 300.75, 640, 480]),
        ((640, 480), [10.2, 10.2, 10.4, 10.4]),
        ((1, 1), [0, 0, 1, 1]),
        ((2000, 5), [0, 0, 2000, 5]),
        ((2000, 5), [7, 0, 12, 5]),
        ((3000, 2000), [100, 100, 2900, 1900]),
    ],
)
@pytest.mark.parametrize("whitened", [True, False])
def test_boxes_of_all_kinds(network, size, box, whitened):
    rng = np.random.default_rng(0)
    pixels = rng.integers(1, 256, (size[1], size[0], 3), dtype=np.uint8)
    basis = Basis.fit([rng.normal(size=(400, 3))] * 2) if whitened else None
    (made,) = query_templates(network, Image.fromarray(pixels), box, basis)
    for rows in (made.vector, made.parts, made.means, made.cells):
        assert np.isfinite(rows).all()
        np.testing.assert_allclose(np.linalg.norm(rows, axis=-1), 1, atol=1e-4)
    count = len(made.sides)
    assert (len(made.parts), len(made.means)) == (count, count)
    assert 2 <= count <= 9
    assert (np.diff(made.sides[1:]) > 0).all()
    assert 1 <= len(made.cells) <= 600
    own = ((box[2] - box[0]) * (box[3] - box[1])) ** 0.5
    assert made.sides[1:].max() <= 4.001 * own


def test_long_boxes_stay_affordable(network):
    image = Image.new("RGB", (854, 480))
    for box in ([10, 100, 844, 110], [400, 5, 404, 475], [300, 200, 360, 400]):
        views, _ = module._views(network, image, np.array(box, float))
        assert sum(view.size[0] * view.size[1] for view in views) < 5_000_000


def test_several_boxes_are_each_made_alone(network, image):
    boxes = [[10, 10, 90, 120], [300, 200, 400, 300]]
    both = query_templates(network, image, boxes)
    for box, made in zip(boxes, both, strict=True):
        (alone,) = query_templates(network, image, box)
        np.testing.assert_allclose(made.parts, alone.parts, atol=1e-6)
        np.testing.assert_allclose(made.vector, alone.vector, atol=1e-6)
        np.testing.assert_allclose(made.cells, alone.cells, atol=1e-6)

"""Photos to maps, regions to vectors, boxes of a query to templates."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
pytest.importorskip("faiss")
from claid_ext.descriptors.basis import Basis, unit  # noqa: E402
from claid_ext.descriptors.maps import (  # noqa: E402
    View,
    cell_maps,
    photo_maps,
    projected_cells,
    region_vectors,
    view_maps,
)
from claid_ext.descriptors.networks import ConvNetwork  # noqa: E402
from claid_ext.descriptors.pooling import FeatureMap  # noqa: E402
from claid_ext.descriptors.token_network import TokenNetwork  # noqa: E402
from PIL import Image  # noqa: E402

NO_MEAN, NO_STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
FINE, COARSE = 4, 8  # strides of the network below


class TwoStrides(torch.nn.Module):
    """Mean colours, and a mixture of them, of squares of 4 and of 8 pixels."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.mix = torch.nn.Conv2d(3, 6, 1, bias=False)

    def forward(self, batch):
        pool = torch.nn.functional.avg_pool2d
        return [pool(batch, FINE), self.mix(pool(batch, COARSE))]


@pytest.fixture(scope="module")
def network():
    layers = ("fine", "coarse")
    return ConvNetwork(TwoStrides(), name="made", layers=layers, mean=NO_MEAN, std=NO_STD)


def photo(height, width, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def means(image, stride):
    """Mean colours of squares of so many pixels, black beyond the image."""
    pixels = np.asarray(image, np.float64) / 255
    padded = np.pad(pixels, [(0, -n % stride) for n in pixels.shape[:2]] + [(0, 0)])
    rows, columns = (n // stride for n in padded.shape[:2])
    return padded.reshape(rows, stride, columns, stride, 3).mean(axis=(1, 3))


@pytest.mark.parametrize("size", [(64, 96), (50, 70), (1, 1), (33, 4), (5, 300)])
def test_maps_have_the_photos_cells_and_no_others(network, size):
    image = photo(*size)
    ((fine, coarse),) = photo_maps(network, [image])
    for one, stride in ((fine, FINE), (coarse, COARSE)):
        wanted = means(image, stride)
        assert one.values.shape[1:] == wanted.shape[:2]
        assert one.extent == tuple(count * stride for count in wanted.shape[:2])
    np.testing.assert_allclose(fine.values.permute(1, 2, 0), means(image, FINE), atol=1e-5)


def test_large_photos_are_brought_down(network):
    ((fine, _),) = photo_maps(network, [photo(1200, 1600)])
    assert fine.values.shape == (3, 134, 178)  # 534 x 712 pixels
    pixels = 1200 / 534 * FINE, 1600 / 712 * FINE
    assert fine.extent == pytest.approx((134 * pixels[0], 178 * pixels[1]))
    for height, width in ((50, 20_000), (20_000, 50), (3000, 4000)):
        rows, columns = network.map_size((height, width))
        assert 0.98 * 380_000 < rows * columns < 1.02 * 380_000
    assert network.map_size((462, 822)) == (462, 822)


def test_views_of_any_sizes_come_in_their_order(network):
    image = photo(100, 120)
    views = [
        View(image, (10, 20, 74, 84), (64, 64)),
        View(image, (0, 0, 120, 100), (100, 120)),
        View(image, (40, 0, 104, 64), (64, 64)),
    ]
    together = view_maps(network, views, batch_size=2)
    for view, maps in zip(views, together, strict=True):
        np.testing.assert_allclose(
            maps[0].values.permute(1, 2, 0), means(image.crop(view.box), FINE), atol=1e-5
        )
        (alone,) = view_maps(network, [view])
        for one, other in zip(maps, alone, strict=True):
            torch.testing.assert_close(one.values, other.values)
            assert one.extent == other.extent
    (halved,) = view_maps(network, [View(image, (20, 20, 100, 84), (32, 40))])
    assert halved[0].values.shape == (3, 8, 10)
    assert halved[0].extent == (64, 80)


@pytest.fixture(scope="module")
def basis(network):
    maps = photo_maps(network, [photo(120, 160, seed) for seed in range(3)])
    cells = [
        np.concatenate([its[layer].values.flatten(1).T.numpy() for its in maps]) for layer in (0, 1)
    ]
    return Basis.fit(cells)


def sampled_mean(cells, box, extent, bins=14):
    """RoI-align's mean of cells (h, w, d): bilinear samples at 14 x 14 points of the box."""
    height, width, _ = cells.shape
    total = 0
    for v in (np.arange(bins) + 0.5) / bins:
        for u in (np.arange(bins) + 0.5) / bins:
            y = (box[1] + v * (box[3] - box[1])) / extent[0] * height - 0.5
            x = (box[0] + u * (box[2] - box[0])) / extent[1] * width - 0.5
            y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
            top, left = min(int(y), max(height - 2, 0)), min(int(x), max(width - 2, 0))
            below, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = (1 - x + left) * cells[top, left] + (x - left) * cells[top, right]
            lower = (1 - x + left) * cells[below, left] + (x - left) * cells[below, right]
            total = total + (1 - y + top) * upper + (y - top) * lower
    return total / bins**2


@pytest.mark.parametrize("whitened", [True, False])
def test_region_vectors_are_means_of_whitened_cells(network, basis, whitened):
    image = photo(75, 110, seed=9)
    (maps,) = photo_maps(network, [image])
    boxes = np.array([[3, 5, 60, 47.5], [0, 0, 110, 75], [100, 70, 101, 71], [0, 30, 110, 32]])
    vectors = region_vectors(maps, boxes, basis if whitened else None)
    assert vectors.shape == (4, basis.vector_dim if whitened else 9)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for vector, box in zip(vectors, boxes, strict=True):
        parts = []
        for number, one in enumerate(maps):
            cells = one.values.permute(1, 2, 0).numpy()
            cells = basis[number].whiten(cells) if whitened else unit(cells)
            parts.append(unit(sampled_mean(cells, box, one.extent)))
        np.testing.assert_allclose(vector, unit(np.concatenate(parts)), atol=2e-4)
    assert region_vectors(maps, np.zeros((0, 4)), basis).shape == (0, basis.vector_dim)


def test_kept_maps_are_codes_or_cells_and_survive_a_record(network, basis):
    from claid_ext.record import ImageRecord
    from claid_ext.regions import Regions

    (maps,) = photo_maps(network, [photo(50, 70)])
    coded = cell_maps(maps, network.layers, basis)
    plain = cell_maps(maps, network.layers)
    for number, (code, cells, one) in enumerate(zip(coded, plain, maps, strict=True)):
        values = one.values.permute(1, 2, 0).numpy()
        assert (code.values.dtype, cells.values.dtype) == (np.uint8, np.float16)
        np.testing.assert_array_equal(code.values, basis[number].encode(values))
        np.testing.assert_allclose(cells.values, unit(values), atol=1e-3)
        assert code.cell == cells.cell == ((FINE, FINE), (COARSE, COARSE))[number]
    regions = Regions.of_boxes((50, 70), [[0, 0, 70, 50]])
    again = ImageRecord.from_bytes(ImageRecord(regions, np.ones((1, 1), np.int8), coded).to_bytes())
    np.testing.assert_array_equal(again.maps[1].values, coded[1].values)
    assert [one.layer for one in again.maps] == ["fine", "coarse"]


def test_projected_cells_are_what_codes_stand_for(network, basis):
    (maps,) = photo_maps(network, [photo(50, 70)])
    for number, (cells, one) in enumerate(
        zip(projected_cells(maps, basis), cell_maps(maps, network.layers, basis), strict=True)
    ):
        assert cells.shape == (*one.values.shape[:2], 64)
        assert (basis[number].decode(one.values) * cells).sum(axis=2).mean() > 0.95
    assert [cells.shape[2] for cells in projected_cells(maps)] == [3, 6]


def test_a_basis_of_another_network_is_refused(network, basis):
    (maps,) = photo_maps(network, [photo(20, 20)])
    for call in (
        lambda: region_vectors(maps[:1], [[0, 0, 9, 9]], basis),
        lambda: cell_maps(maps[::-1], network.layers, basis),
        lambda: projected_cells(maps[:1], basis),
    ):
        with pytest.raises(ValueError, match="the basis is for maps of"):
            call()
    with pytest.raises(ValueError, match="layers must be 2 different names"):
        cell_maps(maps, ("one", "one"))


def test_tokens_are_a_map_too():
    timm = pytest.importorskip("timm")
    from claid_ext.backbones import load_backbone

    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=0, dynamic_img_size=True).eval()
    network = TokenNetwork(load_backbone(model, device="cpu"))
    image = photo(64, 96)
    ((one,),) = photo_maps(network, [image])
    (_, _, (same,)) = next(iter(network.maps([image], [{0}], 1)))
    assert isinstance(one, FeatureMap)
    torch.testing.assert_close(one.values, same.values)
    assert one.extent == same.extent
    ((padded,),) = photo_maps(network, [photo(50, 70)])
    assert padded.values.shape == (64, 4, 5)
    assert padded.extent == (64, 80)
    basis = Basis.fit([one.values.flatten(1).T.numpy()])
    assert region_vectors([one], [[0, 0, 96, 64]], basis).shape == (1, 64)

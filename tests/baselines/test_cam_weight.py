"""CAM-weight step by step on maps made by hand: classes, weights, sums, boxes."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("faiss")
pytest.importorskip("scipy")
timm = pytest.importorskip("timm")

from claid_ext.baselines import cam_boxes  # noqa: E402
from claid_ext.baselines.cam_boxes import CamQuery, find_box, threshold_boxes  # noqa: E402
from claid_ext.descriptors.cam_weight import (  # noqa: E402
    CamWeight,
    Seen,
    cells_inside,
    channel_weights,
    class_vectors,
    scaled_maps,
)
from claid_ext.descriptors.classifier import GapClassifier, gap_classifier  # noqa: E402
from claid_ext.descriptors.networks import ConvNetwork  # noqa: E402
from claid_ext.descriptors.pooling import FeatureMap  # noqa: E402
from claid_ext.regions import Regions  # noqa: E402
from claid_ext.vectors import unit  # noqa: E402
from PIL import Image  # noqa: E402


def test_channel_weights() -> None:
    local = np.zeros((4, 2, 2), np.float32)
    local[0] = 1  # everywhere
    local[1, 0, 0] = 5  # in one of four cells
    local[2] = -1  # nowhere above 0
    local[3, :, 0] = 2  # in half
    # Q = 1, 1/4, 0, 1/2, together 7/4.
    wanted = [math.log(7 / 4), math.log(7), 0, math.log(7 / 2)]
    np.testing.assert_allclose(channel_weights(local), wanted, rtol=1e-6)
    assert channel_weights(np.zeros((3, 2, 2), np.float32)).tolist() == [0, 0, 0]


def test_class_maps_are_the_classifier_on_each_cell() -> None:
    last = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [1.0, 0.0]]])
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -2.0]])
    made = GapClassifier(None, weight, torch.tensor([0.0, 0.0, 10.0]))
    one = FeatureMap(last, (2.0, 2.0))
    maps = made.class_maps(one, torch.tensor([2, 0]))
    assert maps.tolist() == [[[1, 0], [1, 4]], [[1, 2], [3, 4]]]
    assert made.scores(one).tolist() == [2.5, 0.5, 1.5 + 10]


def test_maps_are_scaled_and_resized() -> None:
    maps = np.array([[[-2.0, 4.0]], [[-1.0, -3.0]]], np.float32)
    assert scaled_maps(maps, (1, 2)).tolist() == [[[0, 1]], [[0, 0]]]
    # Bilinear, to twice the size: centres at -1/4, 1/4, 3/4, 5/4 between the two cells.
    assert scaled_maps(maps[:1], (1, 4)).tolist() == [[[0, 0.25, 0.75, 1]]]


def test_class_vectors_by_hand() -> None:
    local = np.array([[[1.0, 2.0], [0.0, 0.0]], [[0.0, 3.0], [1.0, 1.0]]], np.float32)
    maps = np.array([[[1.0, 0.5], [0.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]]], np.float32)
    # Q = 1/2 and 3/4: weights log(5/2) and log(5/3).
    heavy, light = math.log(5 / 2), math.log(5 / 3)
    wanted = [unit([heavy * (1 + 1), light * 1.5]), unit([0, light * 2])]
    np.testing.assert_allclose(class_vectors(local, maps), wanted, rtol=1e-6)
    inside = np.array([[False, True], [False, False]])
    only = class_vectors(local, maps, inside)
    # The weights stay those of the whole photo.
    np.testing.assert_allclose(only, [unit([heavy, light * 1.5]), [0, 0]], rtol=1e-6)


def test_cells_inside_a_box() -> None:
    inside = cells_inside((10, 0, 25, 8), (2, 4), (20.0, 40.0))
    assert np.argwhere(inside).tolist() == [[0, 1], [0, 2]]
    assert cells_inside((0, 0, 40, 20), (2, 4), (20.0, 40.0)).all()
    assert np.argwhere(cells_inside((39, 19, 40, 20), (2, 4), (20.0, 40.0))).tolist() == [[1, 3]]


class TwoMaps(torch.nn.Module):
    """Cells of 16 and of 32 pixels: mean colours, of which the last map is a copy with a ReLU."""

    def forward(self, batch):
        local = torch.nn.functional.avg_pool2d(batch, 16)
        return [local, torch.nn.functional.avg_pool2d(batch, 32).relu()]


@pytest.fixture
def describe(monkeypatch) -> CamWeight:
    """Three classes, by how red, green and blue a photo is; photos at their own size."""
    monkeypatch.setattr("claid_ext.descriptors.cam_weight.SHORTER_SIDE", 128)
    network = ConvNetwork(TwoMaps(), name="colours", layers=("local", "last"),
                          mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))  # fmt: skip
    return CamWeight(GapClassifier(network, torch.eye(3), torch.zeros(3)), classes=1)


def painted(box, colour, ground=(0, 0, 160), size=(192, 128)) -> Image.Image:
    picture = Image.new("RGB", size, ground)
    picture.paste(colour, box)
    return picture


def test_a_query_has_the_classes_of_what_is_cut_out(describe: CamWeight) -> None:
    picture = painted((32, 32, 96, 96), (200, 30, 0))
    seen = describe.see(picture)
    assert describe.top_classes(seen, 1).tolist() == [2], "the photo is mostly blue"
    assert describe.query_classes(picture, seen, (32, 32, 96, 96), 1).tolist() == [0]
    (rows,) = describe(
        [picture], [Regions.of_boxes((128, 192), [[0, 0, 192, 128], [32, 32, 96, 96]])]
    )
    inside = cells_inside((32, 32, 96, 96), seen.local.shape[1:], seen.extent)
    heat = describe.heat_maps(seen, torch.tensor([0]))
    wanted = class_vectors(seen.local, heat, inside)[0]
    np.testing.assert_allclose(rows[1], wanted, atol=1e-6)
    heat = describe.heat_maps(seen, torch.tensor([2]))
    np.testing.assert_allclose(rows[0], class_vectors(seen.local, heat)[0], atol=1e-6)


def test_classes_are_whitened_one_by_one_and_summed(describe: CamWeight) -> None:
    photos = [painted((0, 0, 64, 64), (250, 10 * n, 5 * n), (5, 9 * n, 99)) for n in range(8)]
    two = CamWeight(describe.classifier, classes=2)
    two.fit(photos)
    assert two.whitening is not None
    seen = two.see(photos[3])
    classes = two.top_classes(seen, 2)
    vectors = class_vectors(seen.local, two.heat_maps(seen, classes))
    wanted = unit(two.whitening[0].whiten(vectors).sum(axis=0))
    (made,) = two([photos[3]], [Regions.whole((128, 192))])
    np.testing.assert_allclose(made[0], wanted, atol=1e-5)
    assert two.manifest()["whitening"] == two.whitening.fingerprint


def test_whitening_takes_more_classes_only_where_photos_are_few(
    describe: CamWeight, monkeypatch
) -> None:
    learned = []

    def fit(cells, **_):
        learned.append(len(cells[0]))

    monkeypatch.setattr("claid_ext.descriptors.cam_weight.Basis.fit", fit)
    three = CamWeight(describe.classifier, classes=3)
    photo = painted((0, 0, 64, 64), (250, 0, 0))
    for count in (2, 6, 9):  # of 3 dimensions, for which 6 vectors are wanted
        three.fit([photo] * count)
    assert learned == [2 * 3, 6, 9]
    with pytest.raises(ValueError, match="at least one photo"):
        three.fit([])
    with pytest.raises(ValueError, match="classes must be from 1 to 3"):
        CamWeight(describe.classifier)


def test_threshold_boxes() -> None:
    heat = np.zeros((6, 8), np.float32)
    heat[1:3, 1:4] = 0.5
    heat[1, 1] = 1.0
    heat[4:6, 5:8] = 0.15
    heat[3, 3] = 0.05
    # Over 1 %: the first part with its tail; over 10 %: without; the others are the same.
    assert threshold_boxes(heat).tolist() == [[1, 1, 4, 4], [1, 1, 4, 3]]
    assert threshold_boxes(np.zeros((3, 3), np.float32)).shape == (0, 4)


def test_the_box_most_like_the_query_is_found(describe: CamWeight, monkeypatch) -> None:
    monkeypatch.setattr(cam_boxes, "LEAST_SIDE", 2)
    three = CamWeight(describe.classifier, classes=3)
    picture = painted((64, 32, 128, 96), (250, 0, 0), ground=(20, 0, 90))
    seen = three.see(picture)
    inside = cells_inside((64, 32, 128, 96), seen.local.shape[1:], seen.extent)
    red = torch.tensor([0, 1])
    query = CamQuery(red, three.vector(seen, red, inside))
    found = find_box(three, seen, query, (128, 192))
    assert found.cosine == pytest.approx(1, abs=1e-4)
    # Class maps have cells of 32 pixels, resized: half a cell more at most.
    np.testing.assert_allclose(found.box, (64, 32, 128, 96), atol=16)
    monkeypatch.setattr(cam_boxes, "LEAST_SIDE", 99)
    assert find_box(three, seen, query, (128, 192)).box == (0, 0, 192, 128)


def test_which_networks_have_class_maps(tmp_path) -> None:
    torch.manual_seed(0)
    for name in ("resnet10t", "vgg11"):
        if name == "vgg11":  # its file would have half a gigabyte
            monkeyed = timm.create_model(name, pretrained=False, num_classes=3)
            assert not isinstance(monkeyed.pre_logits, torch.nn.Identity)
            continue
        model = timm.create_model(name, pretrained=False).eval()
        torch.save(model.state_dict(), tmp_path / "w.pth")
        made = gap_classifier(name, tmp_path / "w.pth", device="cpu")
        assert made.network.layers == ("layer3", "last")
        batch = torch.randn(1, 3, 96, 96)
        with torch.no_grad():
            local, last = made.network.module(batch)
            assert local.shape[2:] == (6, 6)
            scores = made.scores(FeatureMap(last[0], (1.0, 1.0)))
            torch.testing.assert_close(scores, model(batch)[0], rtol=1e-4, atol=1e-4)
        state = {k: v for k, v in model.state_dict().items() if not k.startswith("fc.")}
        torch.save(state, tmp_path / "headless.pth")
        with pytest.raises(ValueError, match="lack its classifier"):
            gap_classifier(name, tmp_path / "headless.pth")
    with pytest.raises(ValueError, match="named network or a timm model"):
        gap_classifier("no such network")


def test_a_network_that_pools_otherwise_has_none(tmp_path, monkeypatch) -> None:
    model = timm.create_model("resnet10t", pretrained=False, global_pool="max").eval()
    torch.save(model.state_dict(), tmp_path / "w.pth")
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: model)
    with pytest.raises(ValueError, match="no class maps"):
        gap_classifier("resnet10t", tmp_path / "w.pth")


def test_seen_is_what_the_network_gives(describe: CamWeight) -> None:
    seen = describe.see(painted((0, 0, 96, 128), (255, 0, 0), size=(384, 256)))
    assert isinstance(seen, Seen)
    assert seen.local.shape == (3, 8, 12), "its shorter side is brought to 128 pixels"
    assert seen.extent == (256.0, 384.0)

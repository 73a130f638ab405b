"""DASR step by step: peaks, their way back by PRM's rule, ellipses, suppression."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
pytest.importorskip("skimage")

from claid_ext.baselines.dasr import (  # noqa: E402
    DasrRegions,
    ellipse_box,
    response_peaks,
    suppress,
)
from claid_ext.baselines.prm import PeakConvolutions, peak_maps  # noqa: E402
from claid_ext.descriptors.networks import ConvNetwork  # noqa: E402
from PIL import Image  # noqa: E402

nn = torch.nn


def test_peaks_of_a_map_by_hand() -> None:
    response = np.array(
        [
            [9, 0, 0, 0, 0, 0],
            [0, 3, 1, 1, 4, 0],
            [0, 1, 1, 1, 1, 0],
            [0, 1, 2, 1, 1, 5],
            [0, 0, 0, 0, 0, 0],
        ],
        np.float32,
    )
    # 9 and 5 are on the border; 3 has the 9 in its window.
    assert response_peaks(response, 0.0).tolist() == [[1, 4], [3, 2]]
    assert response_peaks(response, 2.0).tolist() == [[1, 4]]
    plateau = np.zeros((5, 6), np.float32)
    plateau[2, 2:4] = 7
    assert len(response_peaks(plateau, 0.0)) == 2, "both are the maximum of their windows"
    assert len(response_peaks(np.zeros((5, 5), np.float32), 0.0)) == 0


def convolve(given, weight, stride=1, pad=0):
    """A convolution by loops: (C, H, W) and (O, C, k, k)."""
    padded = np.pad(given, [(0, 0), (pad, pad), (pad, pad)])
    out, side = len(weight), weight.shape[2]
    rows = (padded.shape[1] - side) // stride + 1
    columns = (padded.shape[2] - side) // stride + 1
    made = np.zeros((out, rows, columns))
    for o, y, x in np.ndindex(out, rows, columns):
        window = padded[:, y * stride : y * stride + side, x * stride : x * stride + side]
        made[o, y, x] = (window * weight[o]).sum()
    return made


def send_back(grad, given, weight, stride=1, pad=0):
    """PRM's rule by loops: each input's share of each output, by (input - least) times W+."""
    positive = np.maximum(weight, 0)
    shifted = given - given.min()
    total = np.abs(convolve(shifted, positive, stride, pad))
    made = np.zeros_like(given)
    side = weight.shape[2]
    for o, y, x in np.ndindex(*grad.shape):
        if total[o, y, x] < 1e-10:
            continue
        for c, dy, dx in np.ndindex(len(given), side, side):
            row, column = y * stride + dy - pad, x * stride + dx - pad
            if 0 <= row < given.shape[1] and 0 <= column < given.shape[2]:
                share = shifted[c, row, column] * positive[o, c, dy, dx] / total[o, y, x]
                made[c, row, column] += share * grad[o, y, x]
    return made


def test_prm_against_brute_force_on_two_layers() -> None:
    rng = np.random.default_rng(0)
    given = rng.normal(size=(3, 8, 9))
    first, second = rng.normal(size=(4, 3, 3, 3)), rng.normal(size=(5, 4, 2, 2))
    bias = rng.normal(size=4)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 2, stride=2))
    net = net.double()
    with torch.no_grad():
        net[0].weight.copy_(torch.from_numpy(first))
        net[0].bias.copy_(torch.from_numpy(bias))
        net[2].weight.copy_(torch.from_numpy(second))
        net[2].bias.zero_()
    peaks = np.array([[1, 2], [3, 0]])
    response, _, maps = peak_maps(net, torch.from_numpy(given), lambda _: peaks)

    hidden = convolve(given, first, pad=1) + bias[:, None, None]
    active = np.maximum(hidden, 0)
    last = convolve(active, second, stride=2)
    np.testing.assert_allclose(response, last.mean(axis=0), rtol=1e-5)
    for number, (row, column) in enumerate(peaks):
        grad = np.zeros_like(last)
        grad[:, row, column] = 1 / len(last)  # of the mean over the channels
        grad = send_back(grad, active, second, stride=2) * (hidden > 0)
        grad = send_back(grad, given, first, pad=1)
        wanted = np.maximum(grad.sum(axis=0), 0)
        assert wanted.max() > 0
        np.testing.assert_allclose(maps[number], wanted, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 1},
        {"kernel_size": 1, "stride": 2},
        {"kernel_size": 3, "padding": 1, "groups": 6},
        {"kernel_size": 5, "stride": 2, "padding": 2, "groups": 3},
        {"kernel_size": 3, "dilation": 2, "padding": (1, 2)},
    ],
)
def test_every_kind_of_convolution_goes_back_as_torch_would(options: dict) -> None:
    torch.manual_seed(1)
    layer = nn.Conv2d(6, 6, **options).double()
    given = torch.randn(1, 6, 11, 10, dtype=torch.float64, requires_grad=True)
    with PeakConvolutions():
        out = layer(given)
    grad = torch.randn_like(out)
    (made,) = torch.autograd.grad(out, given, grad)
    positive = nn.Conv2d(6, 6, bias=False, **options).double()
    positive.weight = nn.Parameter(layer.weight.clamp(min=0))
    shifted = (given - given.min()).detach().requires_grad_(True)
    total = positive(shifted)
    (back,) = torch.autograd.grad(total, shifted, grad / total.detach().abs())
    torch.testing.assert_close(made, shifted * back)
    torch.testing.assert_close(out, layer(given)), "forward is as it was"


def test_an_output_without_input_passes_nothing_back() -> None:
    layer = nn.Conv2d(1, 1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(-1.0)
    given = torch.ones(1, 1, 2, 2, requires_grad=True)
    with PeakConvolutions():
        out = layer(given)
    (made,) = torch.autograd.grad(out.sum(), given)
    assert made.tolist() == [[[[0, 0], [0, 0]]]]
    same = nn.Conv2d(1, 1, 3, padding="same")
    with PeakConvolutions(), pytest.raises(ValueError, match="padding='same'"):
        same(given)


def test_the_ellipse_around_what_a_peak_shows() -> None:
    weights = np.zeros((60, 80), np.float32)
    weights[20:30, 10:50] = 1
    x0, y0, x1, y1 = ellipse_box(weights)
    # Uniform over 40 and 10 pixels: standard deviations of sqrt((n^2 - 1) / 12).
    for low, high, centre, n in ((x0, x1, 30, 40), (y0, y1, 25, 10)):
        half = 2 * np.sqrt((n**2 - 1) / 12)
        assert (low, high) == pytest.approx((centre - half, centre + half), rel=1e-5)


def test_the_box_bounds_the_ellipse_of_a_slanted_shape() -> None:
    weights = np.zeros((90, 90), np.float32)
    places = np.array([[40 + i // 2 + j, 30 + i] for i in range(30) for j in range(3)])
    weights[tuple(places.T)] = 1
    centre = places.mean(axis=0) + 0.5
    values, axes = np.linalg.eigh(np.cov(places.T, bias=True))
    angles = np.linspace(0, 2 * np.pi, 20_000)
    circle = np.stack([np.cos(angles), np.sin(angles)])
    outline = centre[:, None] + axes @ (2 * np.sqrt(values)[:, None] * circle)
    (y0, x0), (y1, x1) = outline.min(axis=1), outline.max(axis=1)
    np.testing.assert_allclose(ellipse_box(weights), [x0, y0, x1, y1], atol=1e-3)


def test_small_values_and_borders() -> None:
    weights = np.full((20, 20), 0.01, np.float32)
    weights[0, :10] = 1  # 2.5 % of the pixels: the 95th percentile is still 0.01
    faint = ellipse_box(weights)
    assert faint[3] == 20, "at the percentile is not under it"
    weights[0:2, :10] = 1
    weights[2, 0] = 0.5
    box = ellipse_box(weights)
    assert (box[0], box[1]) == (0, 0)
    assert box[3] < 4
    assert ellipse_box(np.zeros((4, 4), np.float32)) is None
    one = np.zeros((40, 40), np.float32)
    one[7, 9] = 1
    assert ellipse_box(one).tolist() == [9, 7, 10, 8]


def test_suppression() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [5, 0, 15, 10], [30, 0, 40, 10]], float)
    scores = np.array([1.0, 3.0, 2.0, 0.5])
    # 1 drops 0 (IoU 0.8) and is 40 / 140 = 0.29 over 2, which stays.
    assert suppress(boxes, scores).tolist() == [1, 2, 3]
    assert suppress(np.zeros((0, 4)), np.zeros(0)).tolist() == []


class Brightness(nn.Module):
    """Cells of 16 pixels: their mean brightness, smoothed, so that it peaks on bright things."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Conv2d(3, 2, 16, stride=16, bias=False)
        self.smooth = nn.Conv2d(2, 2, 9, padding=4, bias=False)
        slope = torch.tensor([1.0, 2, 3, 4, 5, 4, 3, 2, 1])
        with torch.no_grad():
            self.mean.weight.fill_(1 / 768)
            self.smooth.weight.copy_((slope[:, None] * slope).expand(2, 2, 9, 9) / 1250)

    def forward(self, batch):
        return self.smooth(self.mean(batch)).relu()


def test_regions_lie_on_what_is_bright() -> None:
    network = ConvNetwork(Brightness(), name="b", mean=(0.0,) * 3, std=(1.0,) * 3)
    things = [(64, 64, 160, 128, 250), (320, 192, 448, 320, 200), (64, 256, 128, 320, 40)]
    picture = Image.new("RGB", (512, 384))
    for x0, y0, x1, y1, light in things:
        picture.paste((light,) * 3, (x0, y0, x1, y1))
    (found,) = DasrRegions(network, "dasr_star")([picture])
    assert len(found) == 3
    order = [1, 0, 2] if found.boxes[0, 0] > 200 else [0, 1, 2]
    for box, number in zip(found.boxes, order, strict=True):
        x0, y0, x1, y1, _ = things[number]
        centre = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        assert x0 <= centre[0] <= x1
        assert y0 <= centre[1] <= y1
    assert (found.level == 1).all()
    (over_mean,) = DasrRegions(network, "dasr")([picture])
    peaks = DasrRegions(network, "dasr_star").peaks(picture)
    assert len(over_mean) == (peaks.scores > peaks.mean).sum()
    # Twice as large, the same boxes: the photo is brought to 512 pixels.
    (large,) = DasrRegions(network)([picture.resize((1024, 768), Image.Resampling.NEAREST)])
    np.testing.assert_allclose(large.boxes, 2 * found.boxes, atol=16)
    again = DasrRegions(network)([picture])[0]
    assert again.boxes.tobytes() == found.boxes.tobytes()


def test_a_photo_without_peaks_is_one_region() -> None:
    network = ConvNetwork(Brightness(), name="b", mean=(0.0,) * 3, std=(1.0,) * 3)
    source = DasrRegions(network)
    (found,) = source([Image.new("RGB", (100, 60))])
    assert found.boxes.tolist() == [[0, 0, 100, 60]]
    assert found.level.tolist() == [0]
    assert source.manifest()["name"] == "dasr_star"
    with pytest.raises(ValueError, match="one of dasr, dasr_star"):
        DasrRegions(network, "prm")

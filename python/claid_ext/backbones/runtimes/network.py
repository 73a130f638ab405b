"""`Network`, what a runtime runs, and `Runner`, a network made ready by a runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from claid_ext.backbones.runtimes.choosing import Choice
from claid_ext.backbones.runtimes.torch_runtime import TorchRunner

if TYPE_CHECKING:
    import torch

__all__ = ["Network", "Runner", "make_runner"]


@dataclass(frozen=True)
class Network:
    """A network in two parts, so that any size of input can be run without converting it anew.

    Attributes
    ----------
    head : float32 (B, 3, h, w) to the inputs of `body`; torch runs it. What depends on the size in
        ways that a conversion would freeze, such as resampled positions, is here.
    body : the module that a runtime converts: tensors to a tensor or several.
    examples : inputs of the whole network, of two different sizes.
    identify : returns what identifies its weights, and which of its outputs are taken.
    transformer : whether `body` is a transformer.
    """

    head: Callable[[torch.Tensor], tuple[torch.Tensor, ...]]
    body: torch.nn.Module
    examples: tuple[torch.Tensor, torch.Tensor]
    identify: Callable[[], str]
    transformer: bool

    @cached_property
    def fingerprint(self) -> str:
        """What `identify` returns; the weights are read once for it."""
        return self.identify()


class Runner(Protocol):
    """Runs a network; any number of threads may call it at once.

    Attributes
    ----------
    choice : the runtime and the precision.
    workers : how many calls at once make the best of the machine.
    """

    choice: Choice
    workers: int

    def __call__(self, batch: torch.Tensor) -> Any:
        """Return what the network gives for a batch (B, 3, h, w), float32 on its device.

        Raises
        ------
        NotCalibratedError : int8, and it has not been calibrated.
        """

    def calibrate(self, batches: Sequence[torch.Tensor]) -> None:
        """Choose the ranges of int8 by inputs (1, 3, h, w), unless they are chosen already.

        Nothing happens at other precisions.

        Raises
        ------
        ValueError : fewer than 24 inputs.
        """

    def manifest(self) -> dict[str, str]:
        """Return "runtime" and "precision", and of int8 "calibration", what identifies its ranges.

        Raises
        ------
        NotCalibratedError : as a call.
        """

    @property
    def calibrated(self) -> bool:
        """Whether it can run: False only of int8 that is yet to be calibrated."""


def make_runner(
    choice: Choice,
    module: Callable[[torch.Tensor], Any],
    network: Network | None,
    device: Any,
) -> Runner:
    """Make a network ready.

    Parameters
    ----------
    choice : as `choose` gives it.
    module : the network as torch runs it.
    network : as other runtimes do, None if they cannot.
    device : torch's.
    """
    if choice.runtime == "torch":
        return TorchRunner(module, device, choice.precision)
    from claid_ext.backbones.runtimes.openvino_runtime import OpenVinoRunner

    assert network is not None, "refused by `choose`"
    return OpenVinoRunner(network, choice.precision)

"""Networks run by torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from claid_ext.backbones.runtimes.choosing import Choice

if TYPE_CHECKING:
    import torch

__all__ = ["TorchRunner"]


class TorchRunner:
    """A `Runner` of torch: float32 as the module is, bfloat16 by autocast."""

    workers = 1
    calibrated = True

    def __init__(
        self,
        module: Callable[[torch.Tensor], Any],
        device: torch.device | str,
        precision: str = "float32",
    ) -> None:
        """Run `module`, which is on `device`."""
        self.choice = Choice("torch", precision)
        self._module = module
        self._device = device

    def __call__(self, batch: torch.Tensor) -> Any:
        """Return what the module gives, as `Runner`."""
        import torch

        with torch.inference_mode():
            if self.choice.precision == "float32":
                return self._module(batch.to(self._device))
            with torch.autocast(torch.device(self._device).type, torch.bfloat16):
                made = self._module(batch.to(self._device))
            if isinstance(made, torch.Tensor):
                return made.float()
            return [one.float() if isinstance(one, torch.Tensor) else one for one in made]

    def calibrate(self, batches: Sequence[torch.Tensor]) -> None:
        """Do nothing: torch runs no int8 here."""

    def manifest(self) -> dict[str, str]:
        """Return runtime and precision."""
        return self.choice._asdict()

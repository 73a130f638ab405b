"""Networks run by OpenVINO, on the CPU."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from claid_ext.backbones.runtimes.choosing import Choice, bfloat16_flag
from claid_ext.backbones.runtimes.converted import (
    converted_model,
    digest_of,
    quantised,
    read_kept,
)
from claid_ext.backbones.runtimes.packages import import_openvino
from claid_ext.errors import NotCalibratedError

if TYPE_CHECKING:
    import torch

    from claid_ext.backbones.runtimes.network import Network

__all__ = ["OpenVinoRunner"]

_THREADS_A_STREAM = 8
"""More threads on one photo hardly help: beyond them, further photos run beside it."""


class OpenVinoRunner:
    """A `Runner` of OpenVINO; the network is converted, or read from the cache, at first use."""

    def __init__(self, network: Network, precision: str) -> None:
        """Run `network` with as many threads as torch would take."""
        self.choice = Choice("openvino", precision)
        self._network = network
        self._threads = _threads()
        self._streams = max(1, self._threads // _THREADS_A_STREAM)
        self.workers = self._streams + 1  # while one is decoded or cut, the others run
        self._lock = threading.Lock()
        self._compiled: Any = None
        self._requests: list[Any] = []
        self._calibration: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what it is made of."""
        return OpenVinoRunner, (self._network, self.choice.precision)

    def __call__(self, batch: torch.Tensor) -> Any:
        """Return what the network gives, as `Runner`."""
        import torch

        compiled = self._ready()
        with torch.inference_mode():
            inputs = [part.contiguous().numpy() for part in self._network.head(batch.cpu())]
        # As many requests as calls at once; they are kept, being slow to make.
        try:
            request = self._requests.pop()
        except IndexError:
            request = compiled.create_infer_request()
        made = [torch.from_numpy(one) for one in request.infer(inputs, share_inputs=True).values()]
        self._requests.append(request)
        return made[0] if len(made) == 1 else made

    @property
    def calibrated(self) -> bool:
        """Whether it can run, as `Runner`."""
        return self.choice.precision != "int8" or quantised(self._network, None) is not None

    def calibrate(self, batches: Sequence[torch.Tensor]) -> None:
        """Choose the ranges of int8, as `Runner`."""
        if self.choice.precision == "int8":
            quantised(self._network, lambda: batches)

    def manifest(self) -> dict[str, str]:
        """Return runtime, precision and calibration, as `Runner`."""
        if self.choice.precision != "int8":
            return self.choice._asdict()
        if self._calibration is None:
            folder = quantised(self._network, None)
            if folder is None:
                raise _not_calibrated()
            self._calibration = digest_of(folder)
        return {**self.choice._asdict(), "calibration": self._calibration}

    def _ready(self) -> Any:
        """Return the compiled model."""
        with self._lock:
            if self._compiled is None:
                # Where int8 has no product, the CPU's best other numbers are used.
                precise = self.choice.precision == "float32" or bfloat16_flag() is None
                options = {
                    "INFERENCE_PRECISION_HINT": "f32" if precise else "bf16",
                    "INFERENCE_NUM_THREADS": self._threads,
                    "NUM_STREAMS": self._streams,
                }
                core = import_openvino().Core()
                self._compiled = core.compile_model(self._model(), "CPU", options)
            return self._compiled

    def _model(self) -> Any:
        if self.choice.precision != "int8":
            return converted_model(self._network)
        folder = quantised(self._network, None)
        if folder is None:
            raise _not_calibrated()
        return read_kept(folder)


def _not_calibrated() -> NotCalibratedError:
    return NotCalibratedError(
        "precision int8 is calibrated on photos before its first use on a machine: call "
        "calibrate(photos), or let `claid index` or `claid detect` do it"
    )


def _threads() -> int:
    import torch

    try:
        ours = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        ours = os.cpu_count() or 1
    return max(1, min(torch.get_num_threads(), ours))

"""What "auto" is, by what is installed and what the CPU has; and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from claid_ext.backbones.runtimes import bfloat16_flag, choose, choosing
from claid_ext.errors import RuntimeUnavailableError

ZEN3 = frozenset({"avx2", "fma"})
ZEN4 = ZEN3 | {"avx512f", "avx512_vnni", "avx512_bf16"}
SAPPHIRE = ZEN3 | {"avx512f", "amx_bf16", "amx_int8"}
OPENVINO, NONE = True, False
READ_FLAGS = choosing.cpu_flags  # before fixtures hide it


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make this a machine of some CPU flags, with or without OpenVINO."""

    def make(flags: frozenset[str], has_openvino: bool) -> None:
        def imported() -> Any:
            if not has_openvino:
                raise ImportError("No module named 'openvino'")
            return sys

        monkeypatch.setattr(choosing, "cpu_flags", lambda: flags)
        monkeypatch.setattr(choosing, "import_openvino", imported)
        monkeypatch.setattr(choosing.importlib.metadata, "version", lambda name: "1.2")

    return make


@pytest.mark.parametrize(
    ("flags", "has_openvino", "asked", "chosen"),
    [
        (ZEN4, OPENVINO, ("auto", "auto"), ("openvino", "bfloat16")),
        (SAPPHIRE, OPENVINO, ("auto", "auto"), ("openvino", "bfloat16")),
        (ZEN3, OPENVINO, ("auto", "auto"), ("torch", "float32")),
        (frozenset(), OPENVINO, ("auto", "auto"), ("torch", "float32")),
        (ZEN4, NONE, ("auto", "auto"), ("torch", "float32")),
        (ZEN4, OPENVINO, ("auto", "float32"), ("torch", "float32")),
        (ZEN4, OPENVINO, ("auto", "bfloat16"), ("openvino", "bfloat16")),
        (ZEN4, NONE, ("auto", "bfloat16"), ("torch", "bfloat16")),
        (ZEN3, OPENVINO, ("auto", "int8"), ("openvino", "int8")),
        (ZEN4, OPENVINO, ("torch", "auto"), ("torch", "float32")),
        (ZEN4, OPENVINO, ("torch", "bfloat16"), ("torch", "bfloat16")),
        (ZEN4, OPENVINO, ("openvino", "auto"), ("openvino", "bfloat16")),
        (ZEN3, OPENVINO, ("openvino", "auto"), ("openvino", "float32")),
        (ZEN3, OPENVINO, ("openvino", "float32"), ("openvino", "float32")),
    ],
)
def test_what_is_chosen_on_a_cpu(
    machine: Any, flags: Any, has_openvino: bool, asked: Any, chosen: Any
) -> None:
    machine(flags, has_openvino)
    assert choose(*asked, "cpu") == chosen


def test_a_gpu_and_a_network_that_cannot_be_converted_stay_with_torch(machine: Any) -> None:
    machine(ZEN4, OPENVINO)
    assert choose("auto", "auto", "cuda:0") == ("torch", "float32")
    assert choose("auto", "bfloat16", "cuda") == ("torch", "bfloat16")
    assert choose("auto", "auto", "cpu", convertible=False) == ("torch", "float32")


@pytest.mark.parametrize(
    ("here", "asked", "error", "words"),
    [
        ((ZEN4, NONE), ("openvino", "auto"), RuntimeUnavailableError, r"pip install .*\[fast\]"),
        ((ZEN4, NONE), ("auto", "int8"), RuntimeUnavailableError, r"pip install .*\[fast\]"),
        ((ZEN3, OPENVINO), ("openvino", "bfloat16"), RuntimeUnavailableError, "avx512_bf16"),
        ((ZEN3, OPENVINO), ("auto", "bfloat16"), RuntimeUnavailableError, "avx512_bf16"),
        ((ZEN4, OPENVINO), ("torch", "int8"), ValueError, 'precision="int8" is for'),
        ((ZEN4, OPENVINO), ("onnx", "auto"), ValueError, "runtime must be one of .*'onnx'"),
        ((ZEN4, OPENVINO), ("auto", "fp16"), ValueError, "precision must be one of .*'fp16'"),
    ],
)
def test_what_cannot_be_is_refused(
    machine: Any, here: Any, asked: Any, error: Any, words: str
) -> None:
    machine(*here)
    with pytest.raises(error, match=words):
        choose(*asked, "cpu")


def test_openvino_is_for_cpus_and_for_networks_of_timm(machine: Any) -> None:
    machine(ZEN4, OPENVINO)
    with pytest.raises(ValueError, match="runs on the CPU, got device='cuda'"):
        choose("openvino", "auto", "cuda")
    with pytest.raises(ValueError, match="module or callable of your own"):
        choose("openvino", "auto", "cpu", convertible=False)


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512_bf16 amx_bf16\n", "amx_bf16"),
        ("processor\t: 0\nflags\t\t: fpu avx512_bf16\n\nprocessor\t: 1\n", "avx512_bf16"),
        ("processor\t: 0\nvmx flags\t: avx512_bf16\nflags\t\t: fpu avx2\n", None),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", None),
        (None, None),
    ],
)
def test_flags_are_read_from_proc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, flag: str | None
) -> None:
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(choosing, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(choosing, "cpu_flags", READ_FLAGS)
    assert bfloat16_flag() == flag


def test_openvino_and_nncf_come_without_telemetry_and_without_warnings() -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    code = (
        "import sys\n"
        "from claid_ext.backbones.runtimes.packages import import_nncf, import_openvino\n"
        "import_openvino(), import_nncf()\n"
        "import openvino.tools.ovc.telemetry_utils as used\n"
        "print(used.tm.__name__, 'openvino_telemetry' in sys.modules)\n"
    )
    run = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["openvino.tools.ovc.telemetry_stub", "False"], done.stderr


FIRST_INFERENCES = """
import sys, threading
import numpy as np
from claid_ext.backbones.runtimes.packages import import_openvino
ov = import_openvino()
from openvino import opset13
given = opset13.parameter([-1, 3], ov.Type.f32)
compiled = ov.Core().compile_model(ov.Model([opset13.relu(given)], [given], "relu"), "CPU")
requests = [compiled.create_infer_request() for _ in range(4)]
together = threading.Barrier(len(requests))
def infer(request):
    together.wait()
    list(request.infer([np.zeros((2, 3), np.float32)], share_inputs=True).values())
threads = [threading.Thread(target=infer, args=(one,)) for one in requests]
sys.setswitchinterval(1e-6)
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_the_first_inferences_of_some_threads_do_not_wait_for_each_other() -> None:
    """As they did in one of ten such processes: see `packages._make_type_maps`."""
    pytest.importorskip("openvino")
    for _ in range(4):
        subprocess.run([sys.executable, "-c", FIRST_INFERENCES], check=True, timeout=60)

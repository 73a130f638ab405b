"""gpu_check.sh's own logic, with programs of no substance in the place of the real ones."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("gpu_check.sh")
PROGRAMS = ("nvidia-smi", "nvcc", "c++", "ninja", "ctest", "python")
# Makes what the script looks for: the device test, which says what it was asked for.
CMAKE = """
if [[ $1 == --build ]]; then
  mkdir -p "$2" && touch "$2/_core.stub.so"
  printf '#!/bin/bash\\necho "device test: $*"\\n' > "$2/claid_cuda_device_test"
  chmod +x "$2/claid_cuda_device_test"
fi
"""
SANITIZER = """
echo "sanitizer $4 $6"
"""


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    """Return a folder of programs that do nothing, and do it well."""
    for tool in ("bash", "dirname", "basename", "mktemp", "rm", "cp", "mkdir", "chmod", "touch"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or pytest.skip(f"no {tool} here"))
    for tool in ("timeout", "nproc"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or pytest.skip(f"no {tool} here"))
    for program in PROGRAMS:
        write(tmp_path, program, "")
    write(tmp_path, "cmake", CMAKE)
    write(tmp_path, "compute-sanitizer", SANITIZER)
    return tmp_path


def write(folder: Path, program: str, script: str) -> None:
    (folder / program).write_text("#!/bin/bash\n" + script)
    (folder / program).chmod(0o755)


def check(stubs: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(stubs / "bash"), str(SCRIPT), "python"],
        env={"PATH": str(stubs), "CUDA_HOME": "/nowhere", "TMPDIR": str(stubs)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_all_passes(stubs: Path) -> None:
    found = check(stubs)
    assert found.returncode == 0, found.stderr
    assert found.stdout.endswith("All passed.\n")
    assert "device test: full" in found.stdout
    for tool in ("memcheck", "racecheck", "initcheck"):
        assert f"sanitizer {tool} small" in found.stdout
        assert f"sanitizer {tool} image" in found.stdout
    assert "sanitizer synccheck small" in found.stdout
    assert not list(stubs.glob("tmp.*"))


def test_failures_are_listed_and_the_rest_goes_on(stubs: Path) -> None:
    write(stubs, "compute-sanitizer", SANITIZER + "[[ $4$6 != racecheckimage ]] || exit 3")
    write(stubs, "ctest", "exit 8")
    found = check(stubs)
    assert found.returncode == 1
    failures = [line for line in found.stdout.splitlines() if line.startswith("FAILED")]
    assert failures == [
        "FAILED: On the host and on the device: exit status 8",
        "FAILED: racecheck, image: exit status 3",
    ]
    assert "sanitizer initcheck image" in found.stdout
    assert "== Timing" in found.stdout


def test_nothing_runs_without_a_build(stubs: Path) -> None:
    write(stubs, "cmake", "[[ $1 != --build ]] || exit 2")
    found = check(stubs)
    assert found.returncode == 1
    assert "FAILED: Build: exit status 2" in found.stdout
    assert "memcheck" not in found.stdout
    write(stubs, "cmake", "")  # says that all is well, and makes nothing
    assert "FAILED: there is no claid_cuda_device_test" in check(stubs).stdout


def test_what_is_missing_is_said_first(stubs: Path) -> None:
    (stubs / "nvcc").unlink()
    write(stubs, "python", "[[ $2 != *pybind11* ]]")
    found = check(stubs)
    assert found.returncode == 2
    assert found.stderr.splitlines() == [
        "Missing: nvcc",
        "Missing: the Python package pybind11 (of python)",
    ]
    assert found.stdout == ""

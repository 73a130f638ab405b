"""The Pythons of this machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def found() -> dict[str, str]:
    """Every CPython from 3.11 to 3.14 here that runs: on PATH, or pyenv's.

    pyenv's shims of versions that are not the chosen one do not run.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    runs = {}
    for version in ("3.11", "3.12", "3.13", "3.14", "3.14t"):
        installed = sorted(pyenv.glob(f"versions/{version.rstrip('t')}.*/bin/python{version}"))
        for candidate in (f"python{version}", *map(str, installed)):
            run = [candidate, "-c", "import ensurepip, venv, sys; print(sys.executable)"]
            try:
                done = subprocess.run(run, check=True, capture_output=True, text=True)
            except (OSError, subprocess.CalledProcessError):
                continue
            runs[version] = done.stdout.strip()
            break
    return runs

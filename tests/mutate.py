"""Mutation testing of csrc/claid: does a test fail for each small change of a kernel?

    python tests/mutate.py [--count 60] [--seed 0] [--only box_search]

In an environment with the extra [test], cmake, ninja and pybind11. The kernels are built once, then
once more per mutant, and the contract's tests are run on it until one fails. A mutant that survives
is printed.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "mutants"
TESTS = ["test_golden.py", "test_contract.py", "test_steps.py", "test_filter.py"]
BOX_TESTS = ["test_box_search.py", "test_box_search_reference.py", "test_box_search_arguments.py"]
LIMIT = 300  # seconds for the tests of one mutant: an endless loop is a failure too

# What is replaced by what: each a pattern on one line, and its replacements.
OPERATORS: list[tuple[str, list[str]]] = [
    (r"(?<= )<(?= )", ["<="]),
    (r"(?<= )>(?= )", [">="]),
    (r"(?<= )<=(?= )", ["<"]),
    (r"(?<= )>=(?= )", [">"]),
    (r"(?<= )==(?= )", ["!="]),
    (r"(?<= )!=(?= )", ["=="]),
    (r"(?<= )\+(?= )", ["-"]),
    (r"(?<= )-(?= )", ["+"]),
    (r"(?<= )\*(?= )", ["+"]),
    (r"(?<= )/(?= )", ["*"]),
    (r"(?<= )&&(?= )", ["||"]),
    (r"(?<= )\|\|(?= )", ["&&"]),
    (r"(?<= )\+=(?= )", ["-="]),
    (r"(?<= )&(?= )", ["|"]),
    (r"(?<= )>>(?= )", ["<<"]),
    (r"(?<![\w.])0(?![\w.])", ["1"]),
    (r"(?<![\w.])1(?![\w.])", ["0", "2"]),
    (r"\btrue\b", ["false"]),
    (r"\bfalse\b", ["true"]),
    (r"\bstd::min\b", ["std::max"]),
    (r"\bstd::max\b", ["std::min"]),
]
NOT_CODE = re.compile(r"^\s*(//|#|\*|static_assert|template|using |namespace |assert\()")


class Mutant(NamedTuple):
    """One changed line of a file."""

    file: Path
    line: int
    before: str
    after: str

    def __str__(self) -> str:
        place = f"{self.file.relative_to(ROOT)}:{self.line + 1}"
        return f"{place}\n  - {self.before.strip()}\n  + {self.after.strip()}"


def mutants(files: list[Path]) -> Iterator[Mutant]:
    """Every mutant of some files."""
    for file in files:
        for number, text in enumerate(file.read_text(encoding="utf-8").splitlines()):
            if NOT_CODE.match(text):
                continue
            code = text.split("//")[0]
            for pattern, replacements in OPERATORS:
                for found in re.finditer(pattern, code):
                    for new in replacements:
                        changed = code[: found.start()] + new + code[found.end() :]
                        yield Mutant(file, number, text, changed + text[len(code) :])


def run(*command: str, limit: float | None = None, **env: str) -> bool:
    """Whether a command succeeds, in time."""
    try:
        done = subprocess.run(
            command,
            cwd=WORK / "source",
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    (WORK / "last.log").write_text(done.stdout + done.stderr)
    return done.returncode == 0


def build() -> bool:
    """Build the extension from the copy, and put it in place."""
    if not run("cmake", "--build", str(WORK / "build")):
        return False
    for built in (WORK / "build").glob("_core*.so"):
        shutil.copy(built, WORK / "source" / "python" / "claid_ext")
    return True


def passes(tests: list[str], limit: float | None = LIMIT) -> bool:
    """Whether all tests pass on what was built."""
    paths = [f"tests/core/{name}" for name in tests]
    source = str(WORK / "source" / "python")
    command = (sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *paths)
    return run(*command, limit=limit, PYTHONPATH=source, OMP_NUM_THREADS="1")


def prepare() -> None:
    """Copy the sources, configure, and see that the tests pass without a change."""
    shutil.rmtree(WORK, ignore_errors=True)
    for name in ("csrc", "python", "tests", "CMakeLists.txt", "pyproject.toml"):
        where = WORK / "source" / name
        where.parent.mkdir(parents=True, exist_ok=True)
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, where, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        else:
            shutil.copy(source, where)
    pybind = subprocess.run(
        [sys.executable, "-m", "pybind11", "--cmakedir"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    options = ["-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DCLAID_CUDA=OFF"]
    options += [f"-Dpybind11_DIR={pybind}", f"-DPython_EXECUTABLE={sys.executable}"]
    configured = run("cmake", "-S", ".", "-B", str(WORK / "build"), *options)
    if not configured or not build() or not passes(TESTS + BOX_TESTS, None):
        sys.exit(f"without any change it does not build or pass: see {WORK / 'last.log'}")


def outcome(mutant: Mutant) -> str:
    """Build one mutant and test it: "killed", "survived" or "does not compile"."""
    copy = WORK / "source" / mutant.file.relative_to(ROOT)
    original = copy.read_text(encoding="utf-8")
    lines = original.splitlines(keepends=True)
    lines[mutant.line] = mutant.after + "\n"
    copy.write_text("".join(lines), encoding="utf-8")
    try:
        if not build():
            return "does not compile"
        first, second = TESTS, BOX_TESTS
        if "box" in mutant.file.name:
            first, second = second, first
        return "survived" if passes(first) and passes(second) else "killed"
    finally:
        copy.write_text(original, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="files whose names hold this")
    args = parser.parse_args()
    sources = sorted((ROOT / "csrc" / "claid").glob("*.[ch]pp"))
    sources = [file for file in sources if args.only in file.name]
    every = list(mutants(sources))
    chosen = random.Random(args.seed).sample(every, min(args.count, len(every)))
    print(f"{len(chosen)} of {len(every)} mutants of {len(sources)} files", flush=True)
    prepare()
    counts: dict[str, int] = {}
    for number, mutant in enumerate(chosen, 1):
        came = outcome(mutant)
        counts[came] = counts.get(came, 0) + 1
        print(f"{number} {came}" + (f": {mutant}" if came == "survived" else ""), flush=True)
    print(", ".join(f"{count} {name}" for name, count in sorted(counts.items())))


if __name__ == "__main__":
    main()

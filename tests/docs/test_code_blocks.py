"""Every block of code in the README and the docs is run, in the order of its page.

A comment on the line before a block says what is otherwise:

    <!-- test: needs a GPU -->                      not run, for that reason: only read
    <!-- test: dino_vitb8 is focus_vits14 -->       run with one word for another

Every `claid` command, in indented lines too, must be one that the command line takes.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from claid_ext.cli import COMMANDS, build_parser

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / ".github" / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
RUN = {"python", "sh"}
READ = {"", "toml", "yaml", "cpp", "json", "text", "console"}


class Block(NamedTuple):
    """A fenced block of a page."""

    line: int
    language: str
    code: str
    needs: str | None


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page, with what the comments before them say done to them."""
    lines = text.splitlines()
    i = 0
    while i < len(lines):
        opened = re.fullmatch(r"```(\w*).*", lines[i])
        if opened is None:
            i += 1
            continue
        end = lines.index("```", i + 1)
        code = "\n".join(lines[i + 1 : end]) + "\n"
        needs = None
        before = i - 1
        while before >= 0 and (comment := re.fullmatch(r"<!-- test: (.*) -->", lines[before])):
            said = comment[1]
            if renamed := re.fullmatch(r"(\S+) is (\S+)", said):
                assert renamed[1] in code, f"line {before + 1}: there is no {renamed[1]} below"
                code = code.replace(renamed[1], renamed[2])
            else:
                assert said.startswith("needs "), f"line {before + 1}: what is {said!r}?"
                needs = said
            before -= 1
        yield Block(i + 1, opened[1], code, needs)
        i = end + 1


def commands(text: str) -> Iterator[tuple[int, list[str]]]:
    """Every `claid` command that has a line of its own, and the lines that it goes on in."""
    joined = ""
    for number, line in enumerate(text.splitlines(), 1):
        joined += line.strip()
        if joined.endswith("\\"):
            joined = joined[:-1]
            continue
        words = re.split(r"\s#\s|\s&&\s|\s\|\s", joined)[0].split()
        if len(words) > 1 and words[0] == "claid" and words[1] in COMMANDS:
            yield number, shlex.split(" ".join(words))[1:]
        joined = ""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def runs(page: Path) -> bool:
    found = blocks(page.read_text(encoding="utf-8"))
    return any(block.language in RUN and block.needs is None for block in found)


def test_blocks_and_commands_are_seen() -> None:
    text = (
        "a\n<!-- test: big is small -->\n```python\nbig\n```\n"
        "<!-- test: needs a GPU -->\n```sh\nclaid doctor  # which\n```\n\n"
        "    claid search at q.jpg \\\n        -k 3\n    claid index: no command\n"
    )
    assert list(blocks(text)) == [
        Block(3, "python", "small\n", None),
        Block(7, "sh", "claid doctor  # which\n", "needs a GPU"),
    ]
    assert list(commands(text)) == [(8, ["doctor"]), (12, ["search", "at", "q.jpg", "-k", "3"])]
    with pytest.raises(AssertionError, match="line 1: what is"):
        list(blocks("<!-- test: skip -->\n```sh\n```\n"))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_languages_are_named_and_python_is_python(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        assert block.language in RUN | READ, f"{page}:{block.line}"
        if block.language == "python":
            compile(block.code, f"{page}:{block.line}", "exec")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_are_those_of_the_command_line(page: Path) -> None:
    parser = build_parser()
    for line, words in commands(page.read_text(encoding="utf-8")):
        try:
            parser.parse_args(words)
        except SystemExit as error:
            pytest.fail(f"{page}:{line}: claid {shlex.join(words)}: exits with {error.code}")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the pages take for granted: photos, features, and `claid` and `python` on the PATH."""
    for module in ("torch", "faiss", "PIL"):
        pytest.importorskip(module)
    data = Path(pytest.importorskip("skimage").data_dir)
    (tmp_path / "photos").mkdir()
    for photo, copies in {
        "coffee.png": ["query.jpg", "photos/a.jpg", "a.jpg", "street.jpg"],
        "rocket.jpg": ["photos/b.jpg", "b.jpg"],
        "chelsea.png": ["shelf.png", "photos/c.png"],
    }.items():
        for copy in copies:
            shutil.copy(data / photo, tmp_path / copy)
    np.save(tmp_path / "tokens.npy", features())
    monkeypatch.chdir(tmp_path)
    programs = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def features() -> Any:
    """(2700, 768) float32: a grid of 45 x 60 patches, in blocks of a few kinds."""
    rng = np.random.default_rng(0)
    rows, columns = np.divmod(np.arange(2700), 60)
    kinds = rng.normal(size=(9, 768))
    noise = rng.normal(size=(2700, 768))
    return (kinds[(rows // 11 + 5 * (columns // 16)) % 9] + noise).astype(np.float32)


@pytest.mark.parametrize("page", list(filter(runs, PAGES)), ids=name)
def test_blocks_run(page: Path, workplace: Path) -> None:
    known = {"__name__": "__main__", "features": features()}
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.needs is not None:
            continue
        if block.language == "python":
            exec(compile(block.code, f"{page}:{block.line}", "exec"), known)
        elif block.language == "sh":
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.code],
                cwd=workplace,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{page}:{block.line}\n{done.stdout}\n{done.stderr}"

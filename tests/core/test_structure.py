"""The package's structure: what importing it pulls in, who imports whom, and how long files are."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import claid_ext
import pytest

PACKAGE = Path(claid_ext.__file__).parent
SOURCES = Path(__file__).parents[2] / "csrc"
MOST_LINES = 400


def modules() -> dict[str, Path]:
    """Every module of the package by its name, the compiled one by its stub."""
    found = {}
    for path in [*PACKAGE.rglob("*.pyi"), *PACKAGE.rglob("*.py")]:
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_in(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import, at the top or in a function, but those for type checkers alone."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from imports_in(ast.Module([other], []))
        elif isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        else:
            yield from imports_in(child)


def imported(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The package's modules that a module imports; of `from package import module`, the module.

    With a module come the packages that it is in, unless the importing one is in them too.
    """
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in imports_in(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
            continue
        base = resolve_name("." * node.level + (node.module or ""), package)
        for alias in node.names:
            inner = f"{base}.{alias.name}"
            found.add(inner if inner in known else base)
    for other in tuple(found):
        parents = [other[:i] for i, letter in enumerate(other) if letter == "."]
        found.update(parent for parent in parents if not f"{name}.".startswith(f"{parent}."))
    return {other for other in found if other in known and other != name}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected components of two modules or more (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def test_circles_are_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_imports_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "import p.a\n"
        "if TYPE_CHECKING:\n    import p.types\n"
        "else:\n    import p.run\n"
        "def f():\n    from . import b\n    from .c import thing\n    if f:\n        import p.d.e\n"
    )
    names = ["p", "p.a", "p.b", "p.c", "p.types", "p.run", "p.module", "p.d", "p.d.e"]
    known = dict.fromkeys(names, path)
    found = {"p.a", "p.b", "p.c", "p.d", "p.d.e", "p.run"}
    assert imported("p.module", path, known) == found


def test_no_module_imports_in_a_circle() -> None:
    known = modules()
    graph = {name: imported(name, path, known) for name, path in known.items()}
    assert "claid_ext._detect" in graph["claid_ext"]
    assert circles(graph) == []


@pytest.mark.parametrize("suffix", ["py", "pyi", "cpp", "hpp", "cu", "cuh"])
def test_no_file_is_too_long(suffix: str) -> None:
    folder = PACKAGE if suffix.startswith("py") else SOURCES
    if not folder.is_dir():
        pytest.skip(f"{folder} comes with the sources alone")
    lines = {
        str(path.relative_to(folder)): len(path.read_text(encoding="utf-8").splitlines())
        for path in folder.rglob(f"*.{suffix}")
    }
    assert lines
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has after a statement."""
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", statement],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in run.stderr.splitlines() if line.startswith("import time:")]
    return {line.rsplit("|", 1)[1].strip() for line in lines[1:]}


def test_importing_the_package_pulls_numpy_alone() -> None:
    top = {name.partition(".")[0] for name in loaded_by("import claid_ext")}
    before = {name.partition(".")[0] for name in loaded_by("import numpy, sysconfig")}
    assert "claid_ext" in top
    assert "numpy" in top
    pulled = top - before - set(sys.stdlib_module_names) - {"claid_ext"}
    assert pulled == set()


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("index", {"torch", "torchvision", "timm", "PIL", "claid_ext.detector"}),
        ("record", {"torch", "torchvision", "timm", "PIL", "claid_ext.detector", "faiss"}),
        ("describing", {"torch", "torchvision", "timm", "PIL", "claid_ext.detector", "faiss"}),
    ],
)
def test_right_of_the_seam_are_arrays_alone(module: str, unwanted: set[str]) -> None:
    """An index is read and searched without networks or pictures; also where they are installed."""
    code = f"import sys, claid_ext.{module}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert f"claid_ext.{module}" in loaded
    assert loaded & unwanted == set()


def test_the_index_imports_nothing_left_of_the_seam() -> None:
    """Not in its functions either: at run time, it meets arrays alone."""
    known = modules()
    left = ("backbones", "descriptors", "detector", "images", "search", "describing", "cli")
    names = {f"claid_ext.{name}" for name in left}
    for name, path in known.items():
        if name.startswith("claid_ext.index"):
            used = imported(name, path, known)
            assert {one for one in used if ".".join(one.split(".")[:2]) in names} == set()


def test_lazy_names_are_listed_and_come_from_where_they_are_said_to() -> None:
    listed = dir(claid_ext)
    assert listed == sorted(listed)
    assert {"Detector", "InstanceIndex", "Query", "Hit", "detect", "__version__"} <= set(listed)
    assert set(claid_ext.__all__) <= set(listed)
    for name, module in claid_ext._LAZY.items():
        assert name in claid_ext.__all__
        assert f"claid_ext.{module}" in modules()
    with pytest.raises(AttributeError, match="no attribute 'Detektor'"):
        claid_ext.Detektor  # noqa: B018


@pytest.mark.parametrize("name", claid_ext._LAZY)
def test_lazy_names_can_be_had(name: str) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("faiss")
    assert getattr(claid_ext, name).__name__ == name

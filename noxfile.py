"""Everything that is run on this repository, one session each: `nox -l` lists them.

`nox -s NAME` runs one, in an environment that is kept in .nox/. `.ci/run` runs from nothing all
that must pass before work lands: the sessions of `RUN`, two at a time.
"""

from __future__ import annotations

import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import nox

sys.path.insert(0, str(Path(__file__).parent / ".ci"))
import interpreters
import lanes

nox.needs_version = ">=2025.10"
nox.options.sessions = ["lint", "types"]
nox.options.reuse_venv = "yes"
nox.options.download_python = "never"

HERE = Path(__file__).parent
PROJECT = nox.project.load_toml(HERE / "pyproject.toml")
SEED = os.environ.setdefault("SEED", str(random.randrange(2**30)))
LANES = int(os.environ.get("LANES", "2"))  # sessions that run at the same time
ONE_RUN = "CLAID_RUN"  # names a run of `all`, in which the package is installed only once

MEGABYTE = 1_000_000
MOST_WHEEL = 15 * MEGABYTE  # the one with CUDA
MOST_DOWNLOAD = 20 * MEGABYTE  # a wheel and all that it pulls

CPP = ("csrc/*.cpp", "csrc/*.hpp", "csrc/*.cu", "csrc/*.cuh")
CPP += ("tests/cpp/*.cpp", "tests/cpp/*.hpp", "tests/cpp/*.h", "tests/cpp/*.cuh")
CMAKE = ("-G", "Ninja", "-DCLAID_WARNINGS_AS_ERRORS=ON", "-DCLAID_CPP_TESTS=ON")

# What rests on BLAS and LAPACK, and the kernels of OpenBLAS that it is run on.
ON_BLAS = ("tests/baselines/test_ncut.py", "tests/baselines/test_eigenvectors.py")
ON_BLAS += ("tests/baselines/test_peers.py", "tests/core/test_steps.py")
ON_BLAS += ("tests/core/test_golden.py", "tests/search/test_descriptors.py")
OPENBLAS_KERNELS = ("Haswell", "SkylakeX", "Zen", "Prescott")


PYTHONS = interpreters.found()


def groups(*names: str) -> Iterable[str]:
    """The requirements of dependency groups."""
    return nox.project.dependency_groups(PROJECT, *names)


def tracked(*patterns: str) -> list[str]:
    """The repository's files of some patterns."""
    run = ["git", "ls-files", "--", *patterns]
    return subprocess.run(run, cwd=HERE, check=True, capture_output=True, text=True).stdout.split()


def readme_commands() -> list[str]:
    """The two commands that the README gives for a fresh machine, part by part."""
    text = (HERE / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^pip install '\.\[.*$", text, re.MULTILINE)
    parts = [part.strip() for line in lines for part in line.split("&&")]
    assert [part.split()[0] for part in parts] == ["pip", "claid", "pip", "pytest"], parts
    return parts


def from_debian(session: nox.Session, program: str, *packages: str) -> None:
    """Install Debian's packages of a program that is missing, where this may install packages."""
    if shutil.which(program) or not shutil.which("apt-get") or os.geteuid() != 0:
        return
    install = "apt-get -qq update && apt-get -qq install -y --no-install-recommends"
    alone = ["flock", str(Path(tempfile.gettempdir()) / "apt.lock")]  # of other sessions
    run = [*alone, "bash", "-c", f"{install} {' '.join(packages)}"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        session.warn(f"no {program}: {done.stderr.strip().splitlines()[-1:]}")


# --- C++


@nox.session
def lint(session: nox.Session) -> None:
    """Style of Python and C++, and the form of what no test here reads."""
    session.install("-q", *groups("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("clang-format", "--dry-run", "-Werror", *tracked(*CPP), silent=True)
    session.run("validate-pyproject", "pyproject.toml")
    for schema, *files in (
        ("github-workflows", *tracked(".github/workflows/*.yml")),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/bug.yml", ".github/ISSUE_TEMPLATE/idea.yml"),
        ("citation-file-format", "CITATION.cff"),
    ):
        session.run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *files)


def configure(session: nox.Session, *options: str) -> str:
    """Configure a build of the C++ tests. Returns its folder."""
    session.install("-q", *groups("lint", "cpp"))
    build = session.create_tmp()
    session.run("cmake", "-S", str(HERE), "-B", build, *CMAKE, *options)
    return build


@nox.session
def kernels(session: nox.Session) -> None:
    """The kernels' C++ tests; CUDA emulated, where nvcc is its PTX too; NEON by qemu."""
    nvcc = shutil.which("nvcc") is not None
    options = ["-DCMAKE_BUILD_TYPE=Release", f"-DCLAID_EMULATE_PTX={'ON' if nvcc else 'OFF'}"]
    build = configure(
        session, *options, "-DCLAID_PYTHON=OFF", "-DCMAKE_CUDA_ARCHITECTURES=75-real;90-real"
    )
    session.run("cmake", "--build", build)
    session.run("ctest", "--test-dir", build, "--output-on-failure", "-j", "2")
    tools = ("aarch64-linux-gnu-g++", "qemu-aarch64")
    from_debian(session, tools[0], "g++-aarch64-linux-gnu", "libc6-dev-arm64-cross")
    from_debian(session, tools[1], "qemu-user")
    if all(shutil.which(tool) for tool in tools):
        session.run("bash", "tests/cpp/neon_qemu.sh", external=True)
    else:
        session.warn(f"NEON is not tested: it needs {' and '.join(tools)}")


@nox.session
def tidy(session: nox.Session) -> None:
    """clang-tidy over the C++ of this processor."""
    session.install("-q", *groups("cpp"))
    pybind11 = str(session.run("python", "-m", "pybind11", "--cmakedir", silent=True)).strip()
    options = ["-DCMAKE_BUILD_TYPE=Release", f"-Dpybind11_DIR={pybind11}"]
    build = configure(session, *options, "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON")
    files = tracked("csrc/claid/*.cpp", "csrc/bindings/*.cpp", "csrc/cuda/*.cpp")
    files = [file for file in files if not re.search("neon|dotprod|i8mm", file)]
    each = "xargs -P 2 -n 3 clang-tidy --quiet -p"
    session.run("sh", "-c", f'printf "%s\\n" "$@" | {each} {build}', "sh", *files, external=True)


@nox.session
def sanitizers(session: nox.Session) -> None:
    """The kernels' C++ tests under the address and undefined-behaviour sanitizers.

    Emulated CUDA is run as for compute capability 9.0 alone; at 7.5 it differs in one product.
    """
    options = ["-DCMAKE_BUILD_TYPE=RelWithDebInfo", "-DCLAID_SANITIZE=address,undefined"]
    build = configure(session, *options, "-DCLAID_PYTHON=OFF", "-DCLAID_CUDA=OFF")
    session.run("cmake", "--build", build)
    session.run("ctest", "--test-dir", build, "--output-on-failure", "-j", "2", "-E", "_750")


@nox.session(python=False)
def windows(session: nox.Session) -> None:
    """The kernels' C++ tests as Windows programs, under wine."""
    session.run("bash", "tests/cpp/windows_wine.sh", external=True)


# --- Wheels, and the core on every interpreter


def build_wheel(session: nox.Session, folder: Path, cuda: str) -> Path:
    """A wheel from the sdist, repaired as one for PyPI is where auditwheel runs."""
    session.install("-q", *groups("wheel"))
    session.run("python", "-m", "build", "-q", "--sdist", "--outdir", str(folder))
    (sdist,) = folder.glob("*.tar.gz")
    options = ("-C", f"cmake.define.CLAID_CUDA={cuda}")
    session.run("pip", "wheel", "-q", "--no-deps", "-w", str(folder / "built"), sdist, *options)
    (wheel,) = (folder / "built").glob("*.whl")
    if sys.platform == "linux":
        session.run("auditwheel", "repair", "-w", str(folder / "wheelhouse"), str(wheel))
        (wheel,) = (folder / "wheelhouse").glob("*.whl")
    assert "+" not in wheel.name, f"{wheel} has a local version"
    return wheel


def core(session: nox.Session) -> None:
    """sdist, wheel, an empty environment without torch, a smoke test, the core's tests.

    The first of the interpreters builds with CUDA, where nvcc is.
    """
    folder = Path(session.create_tmp()).resolve()
    shutil.rmtree(folder)
    first = session.name == f"core-{next(iter(PYTHONS))}"
    wheel = build_wheel(session, folder, "AUTO" if first else "OFF")
    size = wheel.stat().st_size
    session.log(f"{wheel.name}: {size / MEGABYTE:.2f} MB")
    assert size < MOST_WHEEL

    session.run("pip", "download", "-q", "-d", str(folder / "pulled"), str(wheel))
    pulled = sorted((folder / "pulled").iterdir())
    total = sum(file.stat().st_size for file in pulled)
    names = [file.name.partition("-")[0] for file in pulled]
    session.log(f"pip install pulls {', '.join(names)}: {total / MEGABYTE:.1f} MB")
    assert names == ["claid_ext", "numpy"]
    assert total < MOST_DOWNLOAD

    session.run("python", "-m", "venv", str(folder / "empty"))
    python = str(folder / "empty" / ("Scripts" if os.name == "nt" else "bin") / "python")
    session.run(python, "-m", "pip", "install", "-q", str(wheel), external=True)
    session.run(python, "-P", str(HERE / ".ci" / "smoke.py"), external=True)
    session.run(python, "-m", "pip", "install", "-q", f"{wheel}[test]", external=True)
    session.run(python, "-m", "pytest", "-q", "tests/core", external=True)


for version, interpreter in PYTHONS.items():
    nox.session(core, python=interpreter, name=f"core-{version}")


# --- Everything, in one environment that sessions share


@nox.session(default=False)
def everything(session: nox.Session) -> None:
    """The README's commands up to its `pytest`; what the sessions below run in."""
    stamp = Path(session.virtualenv.location) / "installed-by"
    run = os.environ.get(ONE_RUN, "none")
    if run != "none" and stamp.is_file() and stamp.read_text() == run:
        return
    for command in readme_commands()[:-1]:
        session.run("bash", "-c", command, external=True)
    from_debian(session, "chromium", "chromium")  # for the page's tests
    session.install("-q", ".[integrations,ray,milvus]", *groups("lint", "docs"))
    stamp.write_text(run)


def in_everything(session: nox.Session, *command: str, **env: str) -> None:
    """Run a command in the environment of `everything`."""
    programs = session.cache_dir.parent.resolve() / "everything" / "bin"
    env["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
    program = shutil.which(command[0], path=env["PATH"])
    session.run(program, *command[1:], external=True, env=env)


shared = nox.session(python=False, requires=["everything"])


@shared
def readme(session: nox.Session) -> None:
    """The README's `pytest`."""
    in_everything(session, *shlex.split(readme_commands()[-1]), *session.posargs)


@nox.session(python=False, requires=["everything"])
@nox.parametrize("kernel", OPENBLAS_KERNELS, ids=OPENBLAS_KERNELS)
def blas(session: nox.Session, kernel: str) -> None:
    """What rests on BLAS and LAPACK, by one of OpenBLAS's kernels, with fresh seeds."""
    session.log(f"SEED={SEED}")
    env = {"OPENBLAS_CORETYPE": kernel, "HYPOTHESIS_PROFILE": "explore"}
    in_everything(session, "pytest", "-q", f"--hypothesis-seed={SEED}", *ON_BLAS, **env)


@shared
def seeds(session: nox.Session) -> None:
    """Every test of random examples, with fresh seeds."""
    session.log(f"SEED={SEED}")
    options = ("-q", "-m", "hypothesis", f"--hypothesis-seed={SEED}")
    in_everything(session, "pytest", *options, HYPOTHESIS_PROFILE="explore")


@shared
def types(session: nox.Session) -> None:
    """mypy for the oldest and a newer Python, and the extension's stub against the extension."""
    for version in ("3.11", "3.13"):
        in_everything(session, "mypy", "--python-version", version)
    options = ("--mypy-config-file", "pyproject.toml", "--allowlist", ".ci/stubtest-allowed.txt")
    options += ("--ignore-unused-allowlist",)
    in_everything(session, "stubtest", "claid_ext._core", *options)


@shared
def bench(session: nox.Session) -> None:
    """The benchmarks' answers, not their times."""
    in_everything(session, "pytest", "-q", "bench", "--benchmark-disable")


@shared
def docs(session: nox.Session) -> None:
    """The site, to site/: a warning is an error, and no page loads anything from elsewhere."""
    # Not --quiet: what is not logged is not counted.
    in_everything(session, "mkdocs", "build", "--strict", NO_MKDOCS_2_WARNING="1")
    in_everything(session, "python", "docs/check_site.py", "site")


@nox.session
def scale(session: nox.Session) -> None:
    """A Milvus server and an S3 server on this machine, and what runs on them.

    The tests of the engines, local and Ray, need none of them, and run in `readme`.
    """
    # The one server that PyPI has, the client that fits it, and what that client still needs.
    server = ("milvus==2.3.5", "pymilvus==2.3.7", "setuptools<81", "marshmallow<4", "moto[server]")
    # A build of its own: `everything` may build at the same time.
    session.install("-q", "-Cbuild-dir=build/scale", ".[offline,serve,ray,milvus,test]", *server)
    stores = tracked("tests/search/test_store_*.py")
    session.run("pytest", "-q", "-k", "not [local] and not [ray]", "tests/scale", *stores)


# --- What takes longer than `.ci/run` has: by hand, and .github/workflows/deep.yml


def install_for_core(session: nox.Session) -> None:
    """What the core and its tests import, but not the package: scripts build it their own way."""
    needs = PROJECT["project"]["dependencies"]
    needs = needs + PROJECT["project"]["optional-dependencies"]["test"]
    session.install("-q", *needs, *groups("cpp"))


@nox.session
@nox.parametrize("kind", ["address", "thread"], ids=["address", "thread"])
def sanitized(session: nox.Session, kind: str) -> None:
    """The core's tests on an extension that is built with sanitizers."""
    install_for_core(session)
    session.run("bash", "tests/sanitized.sh", kind, *session.posargs, external=True)


@nox.session
def mutate(session: nox.Session) -> None:
    """Whether the contract's tests see small changes of the kernels."""
    install_for_core(session)
    session.run("python", "tests/mutate.py", *session.posargs)


@nox.session(python=False, requires=["everything"])
@nox.parametrize("what", ["python", "cpp"], ids=["python", "cpp"])
def coverage(session: nox.Session, what: str) -> None:
    """Which lines all tests run of the package, and those of the core of csrc/claid."""
    in_everything(session, "pip", "install", "-q", *groups("cpp", "coverage"))
    in_everything(session, "bash", "tests/coverage.sh", what, *session.posargs)


@shared
def fuzz(session: nox.Session) -> None:
    """Every target of tests/fuzz for a minute, or: nox -s fuzz -- TARGET SECONDS [--keep]."""
    in_everything(session, "pip", "install", "-q", *groups("fuzz"))
    in_everything(session, "python", "tests/fuzz/fuzz.py", *(session.posargs or ["all", "60"]))


@shared
def soak(session: nox.Session) -> None:
    """Ten minutes of detecting, adding and searching, and ten of `claid serve`."""
    in_everything(session, "python", "bench/soak.py", "--minutes", "10")
    in_everything(session, "python", "bench/serve_load.py", "--soak", "10")


# --- All of it

# The sessions of a run, in the order in which they are begun: those that others wait for, and the
# longest, first. Each pattern is a name, or a name before its parameters.
RUN = ["everything", "lint", "kernels", "readme", "core", "tidy", "sanitizers", "seeds"]
RUN += ["scale", "blas", "bench", "types", "docs"]


def sessions_of(names: Iterable[str]) -> list[str]:
    """Each session of some names, whatever its parameters."""
    found = []
    for name in names:
        if name == "core":
            found += [f"core-{version}" for version in PYTHONS]
        elif name == "blas":
            found += [f"blas({kernel})" for kernel in OPENBLAS_KERNELS]
        else:
            found.append(name)
    return found


@nox.session(name="all", python=False, default=False)
def all_of_them(session: nox.Session) -> None:
    """The sessions of `RUN`, or those that are named, `LANES` at a time.

    A session's output is printed when it ends. NumPy and torch get one thread each, as the lanes
    use the processors.
    """
    envs = session.cache_dir.parent.resolve()
    env = {"OMP_NUM_THREADS": "1", **os.environ, ONE_RUN: f"{os.getpid()}-{time.time()}"}
    start = time.monotonic()
    results = lanes.Lanes(
        sessions_of(session.posargs or RUN),
        lambda name: [sys.executable, "-m", "nox", "--envdir", str(envs), "-s", name],
        first="everything",
        dependents=needs_everything,
        logs=envs / "logs",
        env=env,
    ).run(LANES)
    took = time.monotonic() - start
    print(f"\n{lanes.table(results)}\n{LANES} at a time: {took:.0f} s; SEED={SEED}", flush=True)
    failed = [name for name, result in results.items() if result.code != 0]
    if failed:
        session.error(f"failed: {', '.join(failed)}")


def needs_everything(name: str) -> bool:
    """Whether a session runs in the environment of `everything`."""
    shared = ("readme", "blas", "seeds", "types", "bench", "docs", "coverage", "fuzz", "soak")
    return name.partition("(")[0] in shared

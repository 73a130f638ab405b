"""Every input that was ever a bug or new to the fuzzer, and some random damage, in each run.

`python tests/fuzz/fuzz.py NAME` goes on from these.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from targets import TARGETS, run

CORPUS = Path(__file__).parent / "corpus"
names = pytest.mark.parametrize("name", list(TARGETS))


def needed(name: str) -> None:
    for module in TARGETS[name].needs:
        pytest.importorskip(module)


@names
def test_the_corpus_raises_what_it_may(name, tmp_path):
    needed(name)
    kept = sorted((CORPUS / name).glob("*"))
    assert kept, "no corpus"
    for path in kept:
        run(name, path.read_bytes(), tmp_path)


@names
def test_sound_inputs_are_fine(name, tmp_path):
    """Otherwise nothing behind the first check would ever be reached."""
    needed(name)
    assert "fine" in {run(name, seed, tmp_path) for seed in TARGETS[name].seeds()}


def damaged(seed: bytes, random: int) -> bytes:
    """Bytes with some flipped, cut, doubled or set."""
    rng = np.random.default_rng(random)
    content = bytearray(seed)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(content) + 1)) if content else 0
        match int(rng.integers(5)):
            case 0 if at < len(content):
                content[at] ^= 1 << int(rng.integers(8))
            case 1:
                del content[at:]
            case 2:
                content[at:at] = content[: int(rng.integers(40))]
            case 3:
                content[at : at + 4] = bytes(rng.choice([0, 255, 127, 128], 4).tolist())
            case _:
                content[at : at + int(rng.integers(9))] = b""
    return bytes(content)


@names
@settings(max_examples=60)
@given(which=st.integers(0, 100), random=st.integers(0, 2**32))
def test_damaged_inputs_raise_what_they_may(name, tmp_path_factory, which, random):
    needed(name)
    seeds = TARGETS[name].seeds()
    folder = tmp_path_factory.getbasetemp() / f"fuzz-{name}"
    folder.mkdir(exist_ok=True)
    run(name, damaged(seeds[which % len(seeds)], random), folder)

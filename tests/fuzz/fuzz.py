"""Coverage-guided fuzzing by atheris: `python tests/fuzz/fuzz.py TARGET [seconds] [--keep]`.

Begins with the target's seeds and its corpus; `all` runs each target in turn, so many seconds each.
With --keep, inputs that reach what none of the corpus reaches are added to it. An input that fails
is written to it, as crash-<hash>.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))

with atheris.instrument_imports(include=["claid_ext"]):
    from targets import TARGETS, run

CORPUS = Path(__file__).parent / "corpus"
LONGEST = 20_000  # bytes of an input


def each_in_turn(options: list[str]) -> int:
    """Run every target in a process of its own; return how many failed."""
    failed = []
    for name in TARGETS:
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, __file__, name, *options], check=False).returncode != 0:
            failed.append(name)
    print(f"{len(TARGETS) - len(failed)} passed, {len(failed)} failed", *failed)
    return len(failed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("seconds", type=int, nargs="?", default=60)
    parser.add_argument("--keep", action="store_true", help="add to the corpus")
    parser.add_argument("--seed", type=int, default=0, help="0 for another each time")
    args = parser.parse_args()
    if args.target == "all":
        keep = ["--keep"] if args.keep else []
        sys.exit(each_in_turn([str(args.seconds), "--seed", str(args.seed), *keep]))
    folder = Path(tempfile.mkdtemp())
    corpus = CORPUS / args.target
    begin, found = folder / "seeds", folder / "found"
    for made in (begin, found, folder / "work"):
        made.mkdir()
    for number, seed in enumerate(TARGETS[args.target].seeds()):
        (begin / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={args.seconds}", f"-max_len={LONGEST}", f"-seed={args.seed}"]
    options += [f"-artifact_prefix={corpus}/", "-timeout=60", "-print_final_stats=1"]
    corpus.mkdir(parents=True, exist_ok=True)
    folders = [corpus if args.keep else found, corpus, begin]
    atheris.Setup(
        [sys.argv[0], *options, *map(str, dict.fromkeys(folders))],
        lambda content: run(args.target, content, folder / "work"),
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()

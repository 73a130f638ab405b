"""Kills extractions at random moments, many times: every photo must be there once, each time.

python bench/kill_rounds.py --rounds 200 [--engine local|ray] [--seed N]
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "scale"))

from kill_rounds import run_rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    args = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        counts = run_rounds(Path(folder), args.rounds, args.engine, args.seed)
    print(
        f"seed {args.seed}: {counts} in {time.monotonic() - start:.0f} s; nothing lost or doubled"
    )


if __name__ == "__main__":
    main()

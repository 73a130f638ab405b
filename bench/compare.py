"""Compare two saved runs of the benchmarks, as ratios; never fails on time.

    pytest bench/ --benchmark-json=new.json
    python bench/compare.py old.json new.json [--threshold 1.1]

Benchmarks are matched by name. Two runs at different hours on a shared machine differ by its
neighbours alone: the median over all benchmarks is printed first, and each ratio is given also
relative to it. Ratios taken in turn within each run (`extra_info`) do not have this trouble.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median
from typing import Any


def load(path: Path) -> dict[str, dict[str, Any]]:
    """Benchmarks of a saved run by full name."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return {entry["fullname"]: entry for entry in content["benchmarks"]}


def compare(old: dict[str, Any], new: dict[str, Any], threshold: float) -> str:
    """Return the table of new / old, slowest change first."""
    common = sorted(set(old) & set(new))
    if not common:
        return "The two runs have no benchmark in common.\n"
    ratios = {n: new[n]["stats"]["median"] / old[n]["stats"]["median"] for n in common}
    overall = median(ratios.values())
    lines = [f"{len(common)} benchmarks in common; median new / old: {overall:.3f}", ""]
    lines.append(f"{'new/old':>8} {'relative':>8}   benchmark")
    for name in sorted(common, key=ratios.__getitem__, reverse=True):
        relative = ratios[name] / overall
        mark = "slower" if relative > threshold else "faster" if relative < 1 / threshold else ""
        lines.append(
            f"{ratios[name]:8.3f} {relative:8.3f}   {name.split('/')[-1]}  {mark}".rstrip()
        )
        for key, after in new[name].get("extra_info", {}).items():
            before = old[name].get("extra_info", {}).get(key)
            if key != "target" and isinstance(before, int | float):
                lines.append(f"{'':20}{key}: {before:.3g} -> {after:.3g}")
    lines += [f"only in old: {name}" for name in sorted(set(old) - set(new))]
    lines += [f"only in new: {name}" for name in sorted(set(new) - set(old))]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path, help="JSON of pytest --benchmark-json")
    parser.add_argument("new", type=Path)
    parser.add_argument(
        "--threshold", type=float, default=1.1, help="mark changes beyond this ratio (default 1.1)"
    )
    args = parser.parse_args()
    print(compare(load(args.old), load(args.new), args.threshold), end="")


if __name__ == "__main__":
    main()

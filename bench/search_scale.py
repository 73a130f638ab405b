"""Build and search an index of a million synthetic vectors, and compare it with brute force.

    python bench/search_scale.py                              # Flat and IVF-PQ: minutes, 1 GB
    python bench/search_scale.py --vectors 100000 --factory Flat

int8 vectors of 208 dimensions, as an index of two stages stores them, in images of about 30
regions; without maps, which stage 1 does not read. Each stage runs in a process of its own. No time
makes it fail; a wrong answer makes it exit with 1.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from claid_ext.benchmarks import machine
from search_stages import Setting, measure, to_markdown

FACTORIES = ("Flat", "IVF4096,PQ52")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=int, default=1_000_000, help="how many (1,000,000)")
    parser.add_argument("--dim", type=int, default=208, help="of the vectors (208)")
    parser.add_argument("--queries", type=int, default=200, help="how many (200)")
    parser.add_argument(
        "--factory", action="append", help=f"faiss's; again for more ({', '.join(FACTORIES)})"
    )
    parser.add_argument("--threads", type=int, default=1, help="of faiss and BLAS (1)")
    parser.add_argument("--folder", type=Path, help="where to build (a temporary folder)")
    parser.add_argument("--json", type=Path, help="also write the figures and the machine here")
    args = parser.parse_args()
    results = []
    for factory in args.factory or FACTORIES:
        work = Path(tempfile.mkdtemp(prefix="claid-scale-", dir=args.folder))
        try:
            setting = Setting(str(work / "index"), factory, args.vectors, args.dim, args.queries)
            results.append(measure(setting, args.threads))
        finally:
            shutil.rmtree(work)
        print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    described = machine.describe()
    print(to_markdown(results))
    print(machine.to_markdown(described))
    if args.json:
        args.json.write_text(
            json.dumps({"machine": described, "results": results}, indent=2) + "\n"
        )
    right = all(
        judged["distinct"]
        and judged["true_scores"]
        and (judged["exact"] or result["setting"]["factory"] != "Flat")
        for result in results
        for judged in (result["compare"]["10"], result["compare"]["100"])
    )
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())

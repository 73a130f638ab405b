"""What every faster backend must equal, in plain NumPy.

`decomposition` is the region tree of section III of the paper, held bit for bit; `box_search` the
second stage of a search, held to 1e-4 in the score of a box; the latter is a module of its own.
"""

from claid_ext.reference import box_search
from claid_ext.reference.decomposition import (
    affinity,
    bisect,
    components,
    connectivity,
    decompose,
    detect,
    dominance,
    energy,
    high_energy,
    k_sums,
    lane_sum,
    norms,
    objective,
    q15_rows,
    seed_start,
    seeds,
)
from claid_ext.reference.visiting import mix, mix_all, random_start, visiting_order

__all__ = [
    "affinity",
    "bisect",
    "box_search",
    "components",
    "connectivity",
    "decompose",
    "detect",
    "dominance",
    "energy",
    "high_energy",
    "k_sums",
    "lane_sum",
    "mix",
    "mix_all",
    "norms",
    "objective",
    "q15_rows",
    "random_start",
    "seed_start",
    "seeds",
    "visiting_order",
]

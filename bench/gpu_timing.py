"""Time the CUDA backend against the ViT's forward pass and one CPU thread, in one run.

Device events, warm-up, rotating inputs; every answer is asserted against the CPU's. Then where
the time of a batch goes, and how far each part is from its floor: what it must read, write and
multiply, counted, over ceilings that the same run measures. Nothing is gated on time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import claid_ext
import numpy as np
import torch
from claid_ext import RegionTree, _core

GRID, CHANNELS, ROUNDS, SETS = (45, 60), 768, 10, 4
CONNECTIVITY = 0.97
TILE, ROW_STEP = 128, 32  # csrc/cuda/image.hpp
OPTIONS = {
    "tau": 0.2,
    "connectivity": CONNECTIVITY,
    "energy_top": 0.3,
    "dominance": 0.2,
    "min_patches": 15,
    "random_start": False,
    "seed": 0,
    "max_passes": 500,
    "released": False,
}


class Ceilings(NamedTuple):
    """What this GPU does at best, measured."""

    int8: float  # operations a second, of a large product
    bandwidth: float  # bytes a second, read and written, of a large copy
    kernel: float  # seconds from one kernel's start to the next one's, of empty ones


class Work(NamedTuple):
    """What a part of the work cannot do without."""

    bytes: float
    operations: float = 0.0  # int8
    kernels: int = 0

    def floor(self, ceilings: Ceilings) -> float:
        """Milliseconds that the part takes at least."""
        parts = (
            self.bytes / ceilings.bandwidth,
            self.operations / ceilings.int8,
            self.kernels * ceilings.kernel,
        )
        return 1000 * max(parts)


def round_up(value: int, multiple: int) -> int:
    """Return the least multiple that is not below the value."""
    return -(-value // multiple) * multiple


def count_work(trees: list[RegionTree], dims: int, item: int, products: float) -> dict[str, Work]:
    """Count the work of a batch with kept products, whose features take `item` bytes each.

    `products` is how many the moves took (`_core.time_cuda_steps`). Bytes are those of device
    memory: what a part reads and writes once.
    """
    quantise = affinity = operations = rest = 0.0
    stride = round_up(dims, ROW_STEP)
    for tree in trees:
        height, width = tree.grid
        patches = height * width
        padded = round_up(patches, TILE)
        tiles = (padded // TILE) * (padded // TILE + 1) // 2
        quantise += patches * dims * item + padded * stride * 2
        operations += 4 * 2.0 * tiles * TILE * TILE * stride
        affinity += padded * stride * 2 + padded * padded / 8 + 4.0 * padded * padded
        cut = tree.connectivity < CONNECTIVITY
        nodes = patches + float(tree.size.sum())  # rows of links, for the degrees
        bisected = patches + float(tree.size[cut].sum())  # rows, for D_1 - D_0 and the gains
        rest += nodes * padded / 8 + 2 * bisected * stride * 2
    return {
        "quantise": Work(quantise, kernels=2),
        "affinity": Work(affinity, operations, kernels=1),
        "k-sums": Work(4.0 * products),
        "rest of the tree": Work(rest, kernels=2),
    }


def part_times(steps: dict[str, float]) -> dict[str, float]:
    """Split the steps' milliseconds into parts; the tree's by how long its blocks were in each."""
    share = steps["sweeps"] / steps["busy"]
    return {
        "quantise": steps["quantise"],
        "affinity": steps["affinity"],
        "k-sums": steps["tree"] * share,
        "rest of the tree": steps["tree"] * (1 - share),
    }


def report(
    whole: float, steps: dict[str, float], work: dict[str, Work], ceilings: Ceilings, images: int
) -> str:
    """Lay out where the `whole` milliseconds of a batch go, an image."""
    lines = [f"{'part':<18}{'ms an image':>12}{'share':>8}{'floor':>10}{'times it':>10}"]
    times = part_times(steps)
    for part, milliseconds in times.items():
        floor = work[part].floor(ceilings)
        lines.append(
            f"{part:<18}{milliseconds / images:>12.4f}{milliseconds / whole:>8.0%}"
            f"{floor / images:>10.4f}{milliseconds / floor:>10.1f}"
        )
    left = whole - sum(times.values())
    lines.append(f"{'host, copies':<18}{left / images:>12.4f}{left / whole:>8.0%}")
    lines.append(
        f"k-sums: {steps['moves'] / images:.0f} moves an image, "
        f"{1000 * steps['sweeps'] / steps['rounds']:.2f} us a round; "
        f"{steps['busy'] / steps['tree']:.1f} blocks at work on average"
    )
    return "\n".join(lines)


def features(batch: int, seed: int) -> torch.Tensor:
    """Objects on a grid with noise, float32 (batch, N, D), on the GPU."""
    rng = np.random.default_rng(seed)
    height, width = GRID
    y, x = np.mgrid[:height, :width]
    made = np.empty((batch, height * width, CHANNELS), np.float32)
    for image in made:
        centres = rng.uniform(0, GRID, (25, 2))
        owner = np.argmin([(y - a) ** 2 + (x - b) ** 2 for a, b in centres], axis=0).ravel()
        image[:] = rng.standard_normal((25, CHANNELS))[owner]
        image[:] += 0.8 * rng.standard_normal(image.shape) + 0.3
    return torch.from_numpy(made).cuda()


def milliseconds(work: Callable[[int], object], warm_up: int = SETS) -> float:
    """Median over rounds, by events on the current stream; round i gets input i % SETS."""
    for i in range(warm_up):
        work(i)
    times = []
    for i in range(ROUNDS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work(i % SETS)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def measure_ceilings() -> Ceilings:
    """Measure what the GPU does at best: int8 products, copies, empty kernels."""
    side, kernels = 8192, 1000
    a = torch.randint(-128, 128, (side, side), dtype=torch.int8, device="cuda")
    b = torch.randint(-128, 128, (side, side), dtype=torch.int8, device="cuda").t()
    product = milliseconds(lambda _: torch._int_mm(a, b))
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    copy = milliseconds(lambda _: target.copy_(source))
    one = torch.zeros(1, device="cuda")
    one.add_(1)  # loads the kernel, which a graph must not
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()  # so that it is the device that is timed
    with torch.cuda.graph(graph):
        for _ in range(kernels):
            one.add_(1)
    empty = milliseconds(lambda _: graph.replay())
    return Ceilings(
        2.0 * side**3 / (product / 1000),
        2.0 * source.numel() / (copy / 1000),
        empty / 1000 / kernels,
    )


def forward(batch: int) -> float:
    """ViT-B/8 in bfloat16 on 360 x 480 pixels, random weights; its attention is SDPA."""
    import timm

    vit = timm.create_model("vit_base_patch8_224", dynamic_img_size=True, num_classes=0)
    vit = vit.cuda().bfloat16().eval()
    images = torch.randn(SETS, batch, 3, 360, 480, device="cuda", dtype=torch.bfloat16)
    with torch.inference_mode():
        return milliseconds(lambda i: vit.forward_features(images[i]))


def time_steps(tokens: torch.Tensor) -> dict[str, float]:
    """Return the steps' milliseconds for a batch: the run of the median tree."""
    stream = int(torch.cuda.current_stream().cuda_stream)
    runs = [
        _core.time_cuda_steps(
            [image.__dlpack__(stream=stream or 1) for image in tokens],
            [GRID] * len(tokens),
            _core.Options(**OPTIONS),
            device=tokens.device.index,
            stream=stream,
        )
        for _ in range(ROUNDS)
    ]
    return sorted(runs, key=lambda run: run["tree"])[ROUNDS // 2]


def main() -> None:
    print(torch.cuda.get_device_name(), claid_ext.build_info(), torch.__version__)
    ceilings = measure_ceilings()
    print(
        f"ceilings: {ceilings.int8 / 1e12:.0f} int8 Top/s, {ceilings.bandwidth / 1e9:.0f} GB/s, "
        f"{1e6 * ceilings.kernel:.1f} us a kernel"
    )
    for batch in (1, 64):
        sets = [features(batch, seed) for seed in range(SETS)]
        trees = claid_ext.detect(sets[0], GRID)
        assert trees[:1] == claid_ext.detect(sets[0][:1].cpu().numpy(), GRID, threads=1)
        whole = milliseconds(lambda i, sets=sets: claid_ext.detect(sets[i], GRID))
        start = time.perf_counter()
        claid_ext.detect(sets[1][:1].cpu().numpy(), GRID, threads=1)
        cpu = 1000 * (time.perf_counter() - start)
        vit = forward(batch)
        print(
            f"\nbatch {batch}: {whole / batch:.3f} ms an image; ViT-B/8 forward "
            f"{vit / batch:.3f} ms ({whole / vit:.1%} of it); one CPU thread {cpu:.1f} ms "
            f"({batch * cpu / whole:.0f} times)"
        )
        steps = time_steps(sets[0])
        work = count_work(trees, CHANNELS, sets[0].element_size(), steps["products"])
        print(report(whole, steps, work, ceilings, batch))


if __name__ == "__main__":
    main()

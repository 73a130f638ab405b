"""Time the CUDA backend against the ViT's forward pass and one CPU thread, in one run.

Device events, warm-up, rotating inputs; every answer is asserted against the CPU's.
Prints milliseconds an image and the ratios; nothing is gated on time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import claid_ext
import numpy as np
import torch

GRID, CHANNELS, ROUNDS, SETS = (45, 60), 768, 10, 4


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


def milliseconds(work: Callable[[int], object]) -> float:
    """Median over rounds, by events on the current stream; round i gets input i % SETS."""
    for i in range(SETS):
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


def forward(batch: int) -> float:
    """ViT-B/8 in bfloat16 on 360 x 480 pixels, random weights; its attention is SDPA."""
    import timm

    vit = timm.create_model("vit_base_patch8_224", dynamic_img_size=True, num_classes=0)
    vit = vit.cuda().bfloat16().eval()
    images = torch.randn(SETS, batch, 3, 360, 480, device="cuda", dtype=torch.bfloat16)
    with torch.inference_mode():
        return milliseconds(lambda i: vit.forward_features(images[i]))


def main() -> None:
    print(torch.cuda.get_device_name(), claid_ext.build_info(), torch.__version__)
    for batch in (1, 64):
        sets = [features(batch, seed) for seed in range(SETS)]
        on_cpu = claid_ext.detect(sets[0][:1].cpu().numpy(), GRID, threads=1)
        assert claid_ext.detect(sets[0], GRID)[:1] == on_cpu
        device = milliseconds(lambda i, sets=sets: claid_ext.detect(sets[i], GRID)) / batch
        start = time.perf_counter()
        claid_ext.detect(sets[1][:1].cpu().numpy(), GRID, threads=1)
        cpu = 1000 * (time.perf_counter() - start)
        vit = forward(batch) / batch
        print(
            f"batch {batch}: {device:.3f} ms an image; ViT-B/8 forward {vit:.3f} ms "
            f"({device / vit:.1%} of it); one CPU thread {cpu:.1f} ms ({cpu / device:.0f} times)"
        )
    profile(sets)


def profile(sets: list[torch.Tensor]) -> None:
    """Where the time goes: each kernel's share of a batch."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        for batch in sets:
            claid_ext.detect(batch, GRID)
        torch.cuda.synchronize()
    print(seen.key_averages().table(sort_by="cuda_time_total", row_limit=12))


if __name__ == "__main__":
    main()

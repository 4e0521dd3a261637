"""What a training step on several machines is made of: computing, bytes and exchanges; and how it would scale.

    python benchmarks/several_machines.py

One process computes; two and four on this machine exchange over loopback. The estimate is on paper: see
docs/several_machines.md for its assumptions.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from timing import in_turn, machine, show
from torch.multiprocessing.spawn import start_processes

from grapheme_pyg import ImageClassificationModel, TrainingSettings
from grapheme_pyg.datasets import load_mnist5k
from grapheme_pyg.training import ClassifierTraining

WORKERS = (2, 8, 64, 512)
# Of the estimate: seconds from one machine to the next in a ring, and bytes a second.
NETWORKS = {"Ethernet, 10 Gbit/s": (50e-6, 1.25e9), "InfiniBand, 200 Gbit/s": (5e-6, 25e9)}
# Beside those of batch statistics, in each step: the gradient, which weights have one, whether it is finite, whether a
# signal has come.
OTHERS = 4


def exchanges_of(model: ImageClassificationModel, step: Callable[[], object]) -> list[int]:
    """Bytes of each exchange of batch statistics in a step."""
    sizes: list[int] = []
    whole = dist.all_reduce

    def counted(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        sizes.append(tensor.numel() * tensor.element_size())
        return whole(tensor, *args, **kwargs)

    dist.all_reduce = counted
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
        model.dag.process_group = dist.group.WORLD
        try:
            step()
        finally:
            dist.all_reduce = whole
            model.dag.process_group = None
            dist.destroy_process_group()
    return sizes


def computing(batch_size: int, turns: int) -> dict[str, Any]:
    """Seconds of the parts of a step of one process, and what it would exchange."""
    images, labels = load_mnist5k().train
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:batch_size]
    torch.manual_seed(0)
    model = ImageClassificationModel.from_preset("base").train()
    batch = model.vision.batch(images[chosen], labels[chosen])
    module: Any = ClassifierTraining(model, TrainingSettings())
    module.trainer = type("Trainer", (), {"estimated_stepping_batches": 10, "world_size": 1})()
    optimizer = module.configure_optimizers()["optimizer"]

    def backward() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(batch), batch.y).backward()

    backward()
    seconds = in_turn(
        {
            "graphs": lambda: model.vision.batch(images[chosen], labels[chosen]),
            "forward and backward": backward,
            "optimizer": optimizer.step,
        },
        turns=turns,
    )
    return {
        "batch_size": batch_size,
        "seconds": seconds,
        "gradient_bytes": sum(4 * p.numel() for p in model.parameters() if p.requires_grad),
        "statistics_bytes": exchanges_of(model, backward),
    }


def _time_exchanges(rank: int, world_size: int, sizes: Sequence[int], turns: int, folder: str) -> None:
    """One of the processes that exchange; leaves a file of seconds by bytes."""
    limit = timedelta(seconds=60)
    place = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=place, rank=rank, world_size=world_size, timeout=limit)
    seconds = {}
    for size in sizes:
        tensor, times = torch.zeros(size // 4), []
        for _ in range(turns):
            dist.barrier()
            started = time.perf_counter()
            dist.all_reduce(tensor)
            times.append(time.perf_counter() - started)
        seconds[size] = statistics.median(times)
    dist.destroy_process_group()
    Path(folder, f"{rank}.json").write_text(json.dumps(seconds))


def latency(world_size: int, sizes: Sequence[int], turns: int) -> dict[int, float]:
    """Median seconds of a Gloo all-reduce over loopback, by bytes; of the process that waited longest."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = (world_size, sizes, turns, folder)
        start_processes(_time_exchanges, arguments, world_size, start_method="fork")
        every = [json.loads(path.read_text()) for path in Path(folder).glob("*.json")]
    return {size: max(found[str(size)] for found in every) for size in sizes}


def step_seconds(computed: dict[str, Any], workers: int, hop: float, bandwidth: float, exchanges: int) -> float:
    """Seconds of a step: computing, and for each exchange a ring of which each has 2 (workers − 1) hops."""
    hops = 2 * (workers - 1)
    volume: int = computed["gradient_bytes"] + sum(computed["statistics_bytes"])
    seconds: float = sum(computed["seconds"].values())
    return seconds + exchanges * hops * hop + hops / workers * volume / bandwidth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=20, help="of each measurement (default: 20)")
    parser.add_argument("--out", type=Path, help="also write what was measured, as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    computed = [computing(size, arguments.turns) for size in (128, 16)]
    gradient, exchanged = computed[0]["gradient_bytes"], computed[0]["statistics_bytes"]
    typical = statistics.median_low(exchanged)
    measured = {size: latency(size, (8, typical, gradient), 20 * arguments.turns) for size in (2, 4)}
    found = {"machine": machine(), "computed": computed, "loopback": measured}
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n")

    names = list(computed[0]["seconds"])
    rows = [[str(one["batch_size"]), *(f"{1e3 * one['seconds'][name]:.1f}" for name in names)] for one in computed]
    show("a step of one process, milliseconds", ["images", *names], rows)
    print(f"\ngradient: {gradient:,} bytes; statistics: {len(exchanged)} exchanges, {sum(exchanged):,} bytes in all")
    show(
        "Gloo all-reduce over loopback, microseconds",
        ["processes", *(f"{size:,} bytes" for size in measured[2])],
        [[str(size), *(f"{1e6 * seconds:.0f}" for seconds in times.values())] for size, times in measured.items()],
    )
    hop = measured[2][typical] / 2
    networks = {"loopback, as measured": (hop, gradient / max(measured[2][gradient] - 2 * hop, 1e-9)), **NETWORKS}
    for norm, exchanges in (("batch", len(exchanged) + OTHERS), ("layer", OTHERS)):
        table = []
        for name, (seconds, bandwidth) in networks.items():
            alone = sum(computed[0]["seconds"].values())
            shares = [alone / step_seconds(computed[0], size, seconds, bandwidth, exchanges) for size in WORKERS]
            table.append([name, f"{1e6 * seconds:.0f}", *(f"{100 * share:.0f} %" for share in shares)])
        header = ["network", "µs a hop", *(f"{size} workers" for size in WORKERS)]
        show(f"estimate: share of time that computes, 128 images for each worker, {norm} norm", header, table)


if __name__ == "__main__":
    main()

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
IMAGES = 128
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


def computing_seconds(found: dict[str, Any], images: float) -> float:
    """Seconds that one process computes in a step: a constant, and so much for each image."""
    (most, slow), (fewest, fast) = ((one["batch_size"], sum(one["seconds"].values())) for one in found["computed"])
    seconds: float = fast + (images - fewest) * (slow - fast) / (most - fewest)
    return seconds


def exchanging_seconds(found: dict[str, Any], workers: int, hop: float, bandwidth: float, exchanges: int) -> float:
    """Seconds of the exchanges of a step, each of which goes 2 (workers - 1) hops around a ring."""
    first, hops = found["computed"][0], 2 * (workers - 1)
    volume: int = first["gradient_bytes"] + sum(first["statistics_bytes"])
    return exchanges * hops * hop + volume * hops / workers / bandwidth


def measure(turns: int) -> dict[str, Any]:
    """All that the estimate needs: parts of steps, bytes, and exchanges over loopback."""
    computed = [computing(size, turns) for size in (IMAGES, IMAGES // 8)]
    sizes = (8, statistics.median_low(computed[0]["statistics_bytes"]), computed[0]["gradient_bytes"])
    loopback = {str(count): latency(count, sizes, 20 * turns) for count in (2, 4)}
    return {"machine": machine(), "computed": computed, "loopback": loopback}


def report(found: dict[str, Any]) -> None:
    """Prints what was measured, and the estimate."""
    computed, loopback = found["computed"], found["loopback"]
    names = list(computed[0]["seconds"])
    rows = [[str(one["batch_size"]), *(f"{1e3 * one['seconds'][name]:.1f}" for name in names)] for one in computed]
    show("a step of one process, milliseconds", ["images", *names], rows)
    gradient, exchanged = computed[0]["gradient_bytes"], computed[0]["statistics_bytes"]
    print(f"\ngradient: {gradient:,} bytes; statistics: {len(exchanged)} exchanges, {sum(exchanged):,} bytes in all")
    show(
        "Gloo all-reduce over loopback, microseconds",
        ["processes", *(f"{int(size):,} bytes" for size in loopback["2"])],
        [[count, *(f"{1e6 * seconds:.0f}" for seconds in times.values())] for count, times in loopback.items()],
    )
    _, small, large = loopback["2"].values()
    hop = small / 2
    networks = {"loopback, as measured": (hop, gradient / max(large - small, 1e-9)), **NETWORKS}
    header = ["network", "µs a hop", *(f"{size} workers" for size in WORKERS)]
    alone = computing_seconds(found, IMAGES)
    for norm, exchanges in (("batch", len(exchanged) + OTHERS), ("layer", OTHERS)):
        many, few = [], []
        for name, (seconds, bandwidth) in networks.items():
            waits = [exchanging_seconds(found, size, seconds, bandwidth, exchanges) for size in WORKERS]
            first = [name, f"{1e6 * seconds:.0f}"]
            many.append(first + [f"{100 * alone / (alone + wait):.0f} %" for wait in waits])
            shared = [computing_seconds(found, IMAGES / size) for size in WORKERS]
            few.append(first + [f"{alone / sum(parts):.2g}" for parts in zip(shared, waits, strict=True)])
        show(f"estimate, {norm} norm, {IMAGES} images for each worker: share of time that computes", header, many)
        show(f"estimate, {norm} norm, {IMAGES} images for all together: times faster than one", header, few)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=20, help="of each measurement (default: 20)")
    parser.add_argument("--out", type=Path, help="also write what was measured, as JSON")
    parser.add_argument("--measured", type=Path, help="measure nothing: such a file is read")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = measure(options.turns) if options.measured is None else json.loads(options.measured.read_text())
    if options.out:
        options.out.write_text(json.dumps(found, indent=2) + "\n")
    report(found)


if __name__ == "__main__":
    main()

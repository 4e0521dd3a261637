"""Times that can be compared: things timed in turn in one process, after warming up; medians."""

import ctypes
import gc
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch_geometric

from grapheme_pyg.ops import compiled

Way = Callable[[], object]


def in_turn(ways: Mapping[str, Way], *, turns: int, warm_up: int = 2, calls: int = 1) -> dict[str, float]:
    """Median seconds of each way; in each turn every one of them runs once, or some times in a row.

    Args:
        ways: What to time.
        turns: How often each is timed.
        warm_up: Turns before those.
        calls: How many calls in a row are timed together. If there are several, as in training, where step follows
            step, another one before them is not timed: it finds the caches full of what others need.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(warm_up + turns):
        for name, way in ways.items():
            if calls > 1:
                way()
            started = time.perf_counter()
            for _ in range(calls):
                way()
            if turn >= warm_up:
                seconds[name].append((time.perf_counter() - started) / calls)
    return {name: statistics.median(values) for name, values in seconds.items()}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0].split(":")[1].strip() if models else platform.processor(),
        "threads": torch.get_num_threads(),
        "bfloat16_instructions": bool(torch.cpu.get_capabilities().get("avx512_bf16", False)),
        "compiled_kernels": compiled(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_geometric": torch_geometric.__version__,
    }


def memory_of(way: Way) -> int:
    """Most bytes that something has in memory beyond what the process had before; on Linux."""
    gc.collect()
    # What was freed goes back to the system, and the peak starts anew.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    way()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table in Markdown."""
    print(f"\n{title}\n")
    print("| " + " | ".join(header) + " |")
    print("|" + " --- |" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)

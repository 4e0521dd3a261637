"""Comparable times: functions are timed in turn in one process, after warming up; medians."""

import ctypes
import gc
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch_geometric

from grapheme_pyg.ops import compiled
from grapheme_pyg.training.settings import Precision

Way = Callable[[], object]


def in_turn(ways: Mapping[str, Way], *, turns: int, warm_up: int = 2, calls: int = 1) -> dict[str, float]:
    """Returns the median seconds of each function; in each turn, every function runs once, or several times in a row.

    Args:
        ways: The functions.
        turns: How often each is timed.
        warm_up: Number of turns before, which are not timed.
        calls: Number of calls in a row that are timed together, as steps follow each other in training. If there are
            several, a call before them is not timed, since it finds the caches filled by other functions.
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


def cpu_name() -> str:
    """Returns the name of the CPU."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.+)$", cpuinfo.read_text() if cpuinfo.exists() else "", re.MULTILINE)
    return model[1].strip() if model else platform.processor() or platform.machine()


def has_bfloat16() -> bool:
    """Tells whether the CPU has instructions for bfloat16."""
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def fastest_precision() -> Precision:
    """Returns the fastest precision of training on this CPU."""
    return "bf16-mixed" if has_bfloat16() else "32-true"


def machine() -> dict[str, Any]:
    """Describes the machine on which figures are measured."""
    return {
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "bfloat16_instructions": has_bfloat16(),
        "compiled_kernels": compiled(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_geometric": torch_geometric.__version__,
    }


def memory_of(way: Way) -> int:
    """Returns the peak of the memory that a function takes, in bytes; on Linux."""
    gc.collect()
    # Returns freed memory to the system, and resets the peak.
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

"""What a call costs this process: processor time and peak of memory."""

import ctypes
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
RESET_PEAK = "5"
# Of glibc's mallopt: from how many bytes on a block is given back to the system as soon as it is freed.
M_MMAP_THRESHOLD, BLOCK = -3, 2**16


@dataclass(frozen=True)
class Cost:
    """What a call cost, and what came of it.

    Attributes:
        seconds: Of processor time, of all threads.
        megabytes: By how many MiB (2²⁰ bytes) the resident memory of the process rose at most, as the kernel counts it:
            of Python, NumPy, PyTorch and Pillow alike. Without the gaps between blocks that the C library would keep
            for later, as it is told to keep none.
        result: What was returned.
        error: What was raised.
    """

    seconds: float
    megabytes: float
    result: Any
    error: Exception | None


def cost_of(call: Callable[[], Any]) -> Cost:
    """Calls a function and measures it; Linux with the C library of GNU only."""
    result, error = None, None
    gc.collect(1)  # what is young; all objects of all modules would take longer than most calls
    # What was freed and not given back would hide what is taken again.
    library = ctypes.CDLL("libc.so.6")
    library.mallopt(M_MMAP_THRESHOLD, BLOCK)
    library.malloc_trim(0)
    before = _resident("VmRSS")
    CLEAR_REFS.write_text(RESET_PEAK)
    start = time.process_time()
    try:
        result = call()
    except Exception as raised:  # is judged by the caller
        error = raised
    seconds = time.process_time() - start
    return Cost(seconds, max(0.0, _resident("VmHWM") - before), result, error)


def _resident(field: str) -> float:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024

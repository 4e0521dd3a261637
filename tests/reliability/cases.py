"""How often promises are tried, and what a call takes."""

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

# How many times as many cases as every day. More than one: other cases each time, and none that are known already.
TIMES = int(os.environ.get("GRAPHEME_CASES", "1"))
MIB = 2**20
# The option of glibc's mallopt: blocks of at least so many bytes get pages of their own. By itself it grows up to 2²⁵.
MMAP_THRESHOLD = -3
# Decide all that is random in a case.
SEEDS = st.integers(0, 2**32 - 1)


def cases(number: int) -> settings:
    """So many cases of a property, the same ones every day."""
    return settings(
        max_examples=TIMES * number,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=set(Phase) - {Phase.explain},
    )


@dataclass(frozen=True)
class Call:
    """What a call gave, or raised, and took: seconds of the processor, and MiB at the peak beyond those before it."""

    result: Any
    error: Exception | None
    seconds: float
    mib: float

    def require(self, *, seconds: float, mib: float) -> None:
        """Raises AssertionError if it took more."""
        assert self.seconds <= seconds, f"expected {seconds} s at most, got {self.seconds}"
        assert self.mib <= mib, f"expected {mib} MiB at most, got {self.mib}"


def call(function: Callable[[], Any]) -> Call:
    """Calls a function; memory is what the kernel counts as resident, so that all libraries count."""
    library = ctypes.CDLL(None)
    library.malloc_trim(0)
    # Else a buffer that grows takes up to three times its size where earlier tests left large gaps in the heap.
    library.mallopt(MMAP_THRESHOLD, 2**17)
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    result, error, started = None, None, time.process_time()
    try:
        result = function()
    except Exception as raised:
        error = raised
    finally:
        library.mallopt(MMAP_THRESHOLD, 2**25)
    return Call(result, error, time.process_time() - started, (_resident("VmHWM") - before) / MIB)


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def kill_again_and_again(script: str, folder: Path) -> None:
    """Runs a script of this folder that kills processes which write into ``folder``; GRAPHEME_KILLS says how often."""
    kills = os.environ.get("GRAPHEME_KILLS", "20")
    command = [sys.executable, "-W", "ignore", Path(__file__).with_name(script), folder, kills]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    print(ran.stdout)
    assert ran.returncode == 0, ran.stderr[-2000:]

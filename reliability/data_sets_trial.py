"""What trying one set of data means: what must come of it, how much memory and time it may take."""

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor

from grapheme_pyg.errors import DatasetError

MIB = 1 << 20
# Memory beyond a small multiple of the data: what the allocator and libraries take, far less than a bomb.
MULTIPLE, SLACK = 6, 24 * MIB
# Seconds of the processor, and on the clock.
LONGEST, HUNG = 5.0, 60.0


class Hung(BaseException):
    """It did not end. No ``Exception``, as that could be taken for what a broken file raises."""


class BrokenPromiseError(Exception):
    """Something else happened than was promised."""


@dataclass(frozen=True)
class Trial:
    """A set of data that is about to be loaded.

    Attributes:
        load: Loads it.
        expected: What that gives; None if it must be refused.
        honest: Bytes that it may hold.
        named: In the message of the error: the file or the folder, or the field.
        error: Its class.
        either: Whether it may be refused though ``expected`` is given: damage may spare what is read.
        after: Looks at what is left; raises BrokenPromiseError.
    """

    load: Callable[[], Sequence[Tensor]]
    expected: Sequence[Tensor] | None
    honest: int
    named: str = ""
    error: type[Exception] = DatasetError
    either: bool = False
    after: Callable[[], None] = lambda: None


def attempt(trial: Trial) -> dict[str, float]:
    """Loads it and compares what came with what was promised.

    Returns:
        ``MiB``: the highest resident memory of this process while it loaded, as the kernel counts it (``VmHWM``, reset
        by ``/proc/self/clear_refs``), above what was resident before, when the allocator had given back what it could.
        ``seconds``: of the processor, in all threads.

    Raises:
        BrokenPromiseError: Something else came, or memory or time was too much.
    """
    loaded: Sequence[Tensor] | None = None
    error: Exception | None = None
    before = _reset_peak()
    start = time.process_time()
    with _alarm():
        try:
            loaded = trial.load()
        except Exception as raised:  # judged below: any kind but the promised one breaks the promise
            error = raised
    seconds = time.process_time() - start
    mib = (_memory("VmHWM") - before) / MIB
    if error is not None:
        _judge(trial, error)
    elif trial.expected is None or loaded is None:
        raise BrokenPromiseError(f"expected {trial.error.__name__}, got data")
    elif len(loaded) != len(trial.expected) or not all(map(torch.equal, loaded, trial.expected)):
        raise BrokenPromiseError("expected what was written, got other data")
    trial.after()
    most = (MULTIPLE * trial.honest + SLACK) / MIB
    if mib > most:
        raise BrokenPromiseError(f"expected at most {most:.1f} MiB for {trial.honest} bytes, got {mib:.1f} MiB")
    if seconds > LONGEST:
        raise BrokenPromiseError(f"expected at most {LONGEST} s, got {seconds} s")
    return {"MiB": mib, "seconds": seconds}


def _judge(trial: Trial, error: Exception) -> None:
    if trial.expected is not None and not trial.either:
        raise BrokenPromiseError(f"expected data, got {error}") from error
    if type(error) is not trial.error:
        raise BrokenPromiseError(f"expected {trial.error.__name__}, got {type(error).__name__}: {error}") from error
    if trial.named not in str(error) or (": expected " not in str(error) and trial.error is DatasetError):
        raise BrokenPromiseError(f"expected a message that names {trial.named}, got {error}") from error


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def _reset_peak() -> int:
    """Sets the highest resident memory to that of now, which it gives, in bytes."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, HUNG)
    try:
        yield
    except Hung as error:
        raise BrokenPromiseError(f"expected an end within {HUNG} s, got none") from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def as_stranger() -> Iterator[None]:
    """Without root's right to read everything."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)

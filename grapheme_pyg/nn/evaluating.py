"""Running a module as it is used after training."""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class _Borrowed:
    """A module that calls have put in evaluation mode, how many are still running, and the mode it goes back to."""

    training: bool
    calls: int = 0


# A module has one mode for all threads: the first call that needs another sets it, and the last one puts it back.
_borrowed: WeakKeyDictionary[nn.Module, _Borrowed] = WeakKeyDictionary()
_lock = threading.Lock()


def evaluating(function: Callable[P, R]) -> Callable[P, R]:
    """Runs a function of a module without gradients and in evaluation mode, whatever mode the module is in.

    The module, of which a method is a function too, is the first argument, and keeps its mode. Calls of several threads
    may overlap: the mode comes back when the last of them is done. Until then nothing else may set it.
    """

    @functools.wraps(function)
    @torch.no_grad()
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        module = args[0]
        assert isinstance(module, nn.Module)
        with _evaluation_mode(list(module.modules())):
            return function(*args, **kwargs)

    return run


@contextmanager
def _evaluation_mode(parts: list[nn.Module]) -> Iterator[None]:
    with _lock:
        for part in parts:
            _borrowed.setdefault(part, _Borrowed(part.training)).calls += 1
            part.training = False
    try:
        yield
    finally:
        with _lock:
            for part in parts:
                borrowed = _borrowed[part]
                borrowed.calls -= 1
                if borrowed.calls == 0:
                    part.training = borrowed.training
                    del _borrowed[part]

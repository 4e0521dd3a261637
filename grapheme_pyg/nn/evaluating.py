"""Running a module as it is used after training."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import nn

P = ParamSpec("P")
R = TypeVar("R")


def evaluating(function: Callable[P, R]) -> Callable[P, R]:
    """Runs a function of a module without gradients and in evaluation mode, whatever mode the module is in.

    The module, of which a method is a function too, is the first argument, and keeps its mode.
    """

    @functools.wraps(function)
    @torch.no_grad()
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        module = args[0]
        assert isinstance(module, nn.Module)
        modes = {part: part.training for part in module.modules()}
        module.eval()
        try:
            return function(*args, **kwargs)
        finally:
            for part, training in modes.items():
                part.training = training

    return run

"""Evaluation of a module without changing its mode."""

import functools
from collections.abc import Callable
from types import MethodType
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)
P = ParamSpec("P")
R = TypeVar("R")


def evaluating(function: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
    """Decorates a method or function of a module to run without gradients and in evaluation mode.

    It passes the :func:`evaluation_view` of the module, its first argument, so that no mode needs to be restored and
    other threads can train the module meanwhile.
    """

    @functools.wraps(function)
    def run(module: M, /, *args: P.args, **kwargs: P.kwargs) -> R:
        enabled = torch.is_grad_enabled()
        try:
            with torch.no_grad():
                return function(evaluation_view(module), *args, **kwargs)
        finally:
            # Again, because a signal may have interrupted `no_grad` on entry or exit.
            torch._C._set_grad_enabled(enabled)

    return run


def evaluation_view(module: M) -> M:
    """Returns a shallow copy of a module and its parts in evaluation mode, with the same parameters, buffers and hooks.

    Hooks are called with the copy. Attributes that are set on the copy are not set on the module.
    """
    # Copies, because another thread may change the size of the originals during the loops.
    fields, parts = module.__dict__.copy(), module._modules.copy()
    view = object.__new__(type(module))
    for name, value in fields.items():
        if type(value) is MethodType and value.__self__ is module:
            fields[name] = MethodType(value.__func__, view)
    fields["training"] = False
    fields["_modules"] = {name: None if part is None else evaluation_view(part) for name, part in parts.items()}
    # The compiled call would call the original.
    fields["_compiled_call_impl"] = None
    view.__dict__.update(fields)
    return view

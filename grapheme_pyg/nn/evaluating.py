"""Running a module as it is used after training, without touching the mode that it is in."""

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
    """Runs a function of a module without gradients and in evaluation mode, whatever mode the module is in.

    The module, of which a method is a function too, is the first argument. In its place the function gets its
    :func:`evaluation_view`: other threads may train the module meanwhile, and there is no mode to put back.
    """

    @functools.wraps(function)
    def run(module: M, /, *args: P.args, **kwargs: P.kwargs) -> R:
        enabled = torch.is_grad_enabled()
        try:
            with torch.no_grad():
                return function(evaluation_view(module), *args, **kwargs)
        finally:
            # Again, as the exception of a signal may have come while `no_grad` was entered or left.
            torch._C._set_grad_enabled(enabled)

    return run


def evaluation_view(module: M) -> M:
    """A shallow copy of a module and its parts, in evaluation mode, with the same parameters, buffers and hooks.

    Hooks are called with the copy. What is set on it, other than a parameter or a buffer, the module does not have.
    """
    # Copies, which no thread can change the size of while they are looped over.
    fields, parts = module.__dict__.copy(), module._modules.copy()
    view = object.__new__(type(module))
    for name, value in fields.items():
        if type(value) is MethodType and value.__self__ is module:
            fields[name] = MethodType(value.__func__, view)
    fields["training"] = False
    fields["_modules"] = {name: None if part is None else evaluation_view(part) for name, part in parts.items()}
    # It calls the module.
    fields["_compiled_call_impl"] = None
    view.__dict__.update(fields)
    return view

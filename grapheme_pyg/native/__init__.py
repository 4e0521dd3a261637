"""Compiled kernels, where a C compiler was at hand when the package was installed. All else works without them."""

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

compiled: ModuleType | None
try:
    compiled = import_module("grapheme_pyg._native")
except ImportError:
    compiled = None


def available() -> bool:
    """Whether there are kernels to call."""
    return compiled is not None


def call(name: str, tensors: Sequence[Tensor], *arguments: Any) -> Any:
    """Calls a kernel with the addresses of tensors, the other arguments, and the number of threads to use.

    Args:
        name: Of the kernel; see ``module.c``.
        tensors: On the CPU, contiguous and of the dtypes that it expects: it sees addresses alone.
        arguments: Sizes, and what else it takes.

    Raises:
        ValueError: A tensor is on another device, whose addresses mean nothing here, or is not dense.
    """
    addresses = []
    for position, tensor in enumerate(tensors):
        if not tensor.is_cpu or tensor.layout != torch.strided:
            came = f"one of layout {tensor.layout} on {tensor.device}"
            raise ValueError(f"tensors[{position}] of {name}: expected a dense tensor on the CPU, got {came}")
        addresses.append(tensor.data_ptr())
        if addresses[-1] == 0 and tensor.numel() > 0:
            raise ValueError(f"tensors[{position}] of {name}: expected a tensor with values, got one without memory")
    return getattr(compiled, name)(*addresses, *arguments, torch.get_num_threads())


def supported() -> frozenset[torch.dtype]:
    """Of which precisions this CPU has the instructions that products of rows need."""
    dtypes = (torch.float32, torch.bfloat16)
    return frozenset(d for d, has in zip(dtypes, compiled.supports(), strict=True) if has) if compiled else frozenset()

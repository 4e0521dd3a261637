"""Compiled kernels, where a C compiler was at hand when the package was installed. All else works without them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

try:
    from grapheme_pyg import _native as compiled
except ImportError:
    compiled = None

AVAILABLE = compiled is not None


def call(name: str, tensors: Sequence[Tensor], *arguments: Any) -> None:
    """Calls a kernel with the addresses of tensors, the other arguments, and the number of threads to use.

    Args:
        name: Of the kernel; see ``module.c``.
        tensors: On the CPU, contiguous and of the dtypes that it expects: it sees addresses alone.
        arguments: Sizes, and what else it takes.
    """
    kernel: Callable[..., None] = getattr(compiled, name)
    kernel(*(tensor.data_ptr() for tensor in tensors), *arguments, torch.get_num_threads())

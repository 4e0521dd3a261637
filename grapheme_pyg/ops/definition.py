"""Definition of operators in Python, for every device, and loading of the compiled kernels for CPUs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

LIBRARY = torch.library.Library("grapheme", "DEF")
KERNELS = Path(__file__).parent.parent / "_kernels.so"
# Plain implementations by the names of the operators.
PLAIN: dict[str, Callable[..., Any]] = {}


def define(
    schema: str,
    plain: Callable[..., Any],
    fake: Callable[..., Any],
    *,
    backward: Callable[..., Any] | None = None,
    save: Callable[..., None] | None = None,
) -> Any:
    """Defines an operator.

    Args:
        schema: Name, arguments and results in PyTorch's notation.
        plain: Plain implementation by PyTorch's own operators, for any device.
        fake: Fake implementation, which returns tensors of the right shapes and dtypes.
        backward: Gradient, if there is one; see :func:`torch.library.register_autograd`.
        save: Function that saves tensors for ``backward``, likewise.

    Returns:
        A function that calls the operator; all tensors must be on one device.
    """
    name = schema.partition("(")[0]
    LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    operator = getattr(torch.ops.grapheme, name).default
    arguments = [argument.name for argument in operator._schema.arguments]

    def with_one_device(function: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*values: Any) -> Any:
            require_one_device(name, dict(zip(arguments, values, strict=False)))
            return function(*values)

        return checked

    PLAIN[name] = with_one_device(plain)
    LIBRARY.impl(name, PLAIN[name], "CompositeExplicitAutograd")
    # A call with tensors both on the CPU and on "meta" ends up here, even if there is a kernel.
    torch.library.register_fake(f"grapheme::{name}", with_one_device(fake), lib=LIBRARY)
    if backward is not None:
        torch.library.register_autograd(f"grapheme::{name}", backward, setup_context=save, lib=LIBRARY)

    def call(*values: Any) -> Any:
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return operator(*values)
        # Dispatch through the Python gradient would nearly double the time of a call.
        with torch._C._AutoDispatchBelowAutograd():
            return operator(*values)

    return call


def require_one_device(name: str, arguments: dict[str, Any]) -> None:
    """Refuses tensors on several devices.

    Raises:
        ValueError: Naming the operator, the first argument on another device, and both devices.
    """
    first: tuple[str, Tensor] | None = None
    for argument, value in arguments.items():
        if not isinstance(value, Tensor):
            continue
        if first is None:
            first = argument, value
        elif value.device != first[1].device:
            expected = f"a tensor on {first[1].device}, as {first[0]} is"
            raise ValueError(f"{name}: {argument}: expected {expected}, got one on {value.device}")


def single_at_least(dtype: torch.dtype) -> torch.dtype:
    """Returns the dtype in which numbers of a dtype are summed."""
    return torch.promote_types(dtype, torch.float32)


def compiled() -> bool:
    """Returns whether kernels were built when the package was installed."""
    return LOADED


def describe_kernels() -> str:
    """Describes whether computations on CPUs use the kernels."""
    if compiled():
        return "compiled"
    return "none, computations take the slow path; installing where PyTorch and a C++ compiler are builds them"


def _load() -> bool:
    if not KERNELS.exists():
        return False
    torch.ops.load_library(KERNELS)
    return True


LOADED = _load()

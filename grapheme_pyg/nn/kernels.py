"""The compiled kernels of the typed convolution, where they were compiled and the CPU has the instructions."""

import torch
from torch import Tensor

try:
    from grapheme_pyg.nn import _kernels
except ImportError:  # no C compiler when the package was installed
    _kernels = None

AVAILABLE = _kernels is not None
# For which precisions this CPU has the instructions of the products.
SUPPORTED: set[torch.dtype] = set()
if _kernels is not None:
    for dtype, supported in zip((torch.float32, torch.bfloat16), _kernels.supports(), strict=True):
        if supported:
            SUPPORTED.add(dtype)


def usable(x: Tensor, weight: Tensor) -> bool:
    """Whether the kernels take such rows, weights ``[num_relations, in_channels, out_channels]`` and results."""
    if x.device.type != "cpu" or x.dtype not in SUPPORTED or weight.dtype != torch.float32:
        return False
    # Half precision is multiplied two by two.
    return x.dtype == torch.float32 or x.shape[1] % 2 == 0


def gather_matmul(x: Tensor, rows: Tensor, weight: Tensor) -> Tensor:
    """``out[v] = Σ_r x[rows[v, r] − 1] W_r``, without what has 0 in ``rows``.

    Args:
        x: ``[num_rows, in_channels]``, :func:`usable`.
        rows: ``[num_readers, num_relations]`` int64, in [0, num_rows].
        weight: ``[num_relations, in_channels, out_channels]`` float32, of any strides.

    Returns:
        ``[num_readers, out_channels]`` in the dtype of ``x``.
    """
    _check_shapes(x, rows, weight)
    x, rows = _with_whole_rows(x), rows.contiguous()
    out = x.new_empty(rows.shape[0], weight.shape[2])
    _kernels.gather_matmul(
        x.data_ptr(),
        rows.data_ptr(),
        weight.data_ptr(),
        out.data_ptr(),
        (*rows.shape, x.shape[1], out.shape[1], x.stride(0)),
        weight.stride(),
        x.dtype == torch.bfloat16,
        torch.get_num_threads(),
    )
    return out


def gather_outer(x: Tensor, rows: Tensor, grad_out: Tensor, out: Tensor) -> Tensor:
    """``out[r] += Σ_v x[rows[v, r] − 1]ᵀ grad_out[v]``, the gradient of those weights.

    Args:
        x: ``[num_rows, in_channels]``, :func:`usable`.
        rows: ``[num_readers, num_relations]`` int64, in [0, num_rows].
        grad_out: ``[num_readers, out_channels]`` in the dtype of ``x``.
        out: ``[num_relations, in_channels, out_channels]`` float32, contiguous.
    """
    _check_shapes(x, rows, out)
    if grad_out.shape != (rows.shape[0], out.shape[2]) or grad_out.dtype != x.dtype or not out.is_contiguous():
        raise ValueError(f"grad_out: expected {x.dtype} [{rows.shape[0]}, {out.shape[2]}], got {grad_out.shape}")
    x, rows, grad_out = _with_whole_rows(x), rows.contiguous(), grad_out.contiguous()
    _kernels.gather_outer(
        x.data_ptr(),
        rows.data_ptr(),
        grad_out.data_ptr(),
        out.data_ptr(),
        (*rows.shape, x.shape[1], grad_out.shape[1], x.stride(0)),
        x.dtype == torch.bfloat16,
        torch.get_num_threads(),
    )
    return out


def count_kinds(edge_index: Tensor, edge_type: Tensor, group_of: Tensor, sizes: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The kind of each edge, and the number of edges of each kind; see :func:`grapheme_pyg.nn.sweep.plan_sweep`."""
    groups, types = sizes
    edge_index, edge_type = edge_index.contiguous(), edge_type.contiguous()
    kind, counts = torch.empty_like(edge_type), edge_type.new_zeros(groups * groups * types)
    pointers = [tensor.data_ptr() for tensor in (edge_index, edge_type, group_of, kind, counts)]
    _kernels.count_kinds(*pointers, (edge_type.numel(), *sizes), torch.get_num_threads())
    return kind, counts


def fill_tables(
    edge_index: Tensor, kind: Tensor, row_of: Tensor, lookup: Tensor, sizes: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The tables of sources and readers; see :class:`grapheme_pyg.nn.slots.Slots`."""
    edge_index = edge_index.contiguous()
    sources, readers = (kind.new_zeros(size) for size in sizes)
    pointers = [tensor.data_ptr() for tensor in (edge_index, kind, row_of, lookup, sources, readers)]
    _kernels.fill_tables(*pointers, (kind.numel(), lookup.shape[1]), torch.get_num_threads())
    return sources, readers


def _with_whole_rows(x: Tensor) -> Tensor:
    """Rows may lie apart, as in a matrix of more columns."""
    return x if x.stride(1) == 1 else x.contiguous()


def _check_shapes(x: Tensor, rows: Tensor, weight: Tensor) -> None:
    """The kernels see addresses alone."""
    if not usable(x, weight):
        raise ValueError(f"x: expected rows that the kernels take, got {x.dtype} {list(x.shape)} on {x.device}")
    if weight.dim() != 3 or rows.dim() != 2 or weight.shape[:2] != (rows.shape[1], x.shape[1]):
        expected = f"[{rows.shape[-1]}, {x.shape[1]}, out_channels]"
        raise ValueError(f"weight: expected shape {expected}, got {list(weight.shape)}")
    if rows.dtype != torch.int64 or rows.device != x.device or max(rows.shape[0], x.shape[0]) >= 2**31:
        raise ValueError(f"rows: expected torch.int64 on {x.device}, fewer than 2³¹, got {rows.dtype} on {rows.device}")

"""Operators: what PyTorch asks of them, kernels against plain implementations, derivatives, wrong arguments."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from grapheme_pyg import ops
from grapheme_pyg.dag import topological_levels
from grapheme_pyg.testing import plain_operators

OPS = torch.ops.grapheme
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
# Of results whose inputs are rounded to the dtype.
CLOSE = {torch.float32: 1e-5, torch.float64: 1e-13, torch.bfloat16: 1e-2, torch.float16: 2e-3}


def tables(readers: int, relations: int, rows: int) -> tuple[Tensor, Tensor]:
    """A random table in which each row has one reader of each relation at most, and the same seen from the rows."""
    table = torch.zeros(readers, relations, dtype=torch.int32)
    back = torch.zeros(rows, relations, dtype=torch.int32)
    for relation in range(relations):
        number = min(readers, rows) * 2 // 3
        some, read = torch.randperm(readers)[:number], torch.randperm(rows)[:number]
        table[some, relation], back[read, relation] = read.int() + 1, some.int() + 1
    return table, back


def arguments_of(name: str, dtype: torch.dtype = torch.float64) -> tuple[Any, ...]:
    """Arguments of an operator, small enough for every comparison; floating-point ones ask for gradients."""
    torch.manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=dtype, requires_grad=True)

    table, back = tables(5, 3, 6)
    graph = torch.tensor([[0, 1, 0], [2, 2, 1]]), torch.tensor([0, 0, 1])
    kinds = torch.tensor([[0, 0], [0, 0], [0, 0], [0, 1]])
    rows, first = torch.tensor([0, 4, 1, 5]), torch.tensor([0, 3, 3, 4])
    wide = torch.promote_types(dtype, torch.float32)
    mean, variance = torch.randn(4, dtype=wide), torch.rand(4, dtype=wide) + 0.5
    grids = torch.tensor([[3, 2], [2, 1]])
    made: dict[str, Callable[[], tuple[Any, ...]]] = {
        "typed_conv": lambda: (random(6, 4), table, random(3, 4, 7), back),
        "typed_conv_weight_grad": lambda: (random(6, 4), table, random(5, 7), back),
        "segment_mean": lambda: (
            random(6, 4),
            torch.tensor([0, 3, 3, 5], dtype=torch.int32),
            torch.tensor([0, 2, 3], dtype=torch.int32),
            torch.tensor([0, 0, 1, 2]),
        ),
        "norm_relu": lambda: (random(6, 4), random(4), random(4), 1e-5),
        "norm_relu_known": lambda: (random(6, 4), random(4), random(4), mean, variance, 1e-5),
        "norm_relu_backward": lambda: (
            *(tensor.detach() for tensor in (random(6, 4), random(6, 4), random(4), random(4))),
            mean,
            variance,
            1e-5,
        ),
        "mean_max_pool": lambda: (random(6, 4), rows, first),
        "mean_max_pool_backward": lambda: (
            random(3, 8).detach().to(wide),
            random(6, 4).detach(),
            random(3, 8).detach().to(wide),
            rows,
            first,
        ),
        "plan_sweep": lambda: (
            *graph,
            torch.zeros(3, dtype=torch.int64),
            torch.tensor([0, 1, 2]),
            torch.zeros(3, dtype=torch.int64),
            kinds,
            torch.tensor([0, 1, 2, 7]),
            1,
            1,
            True,
        ),
        "plan_readout": lambda: (
            torch.tensor([0, 0, 1]),
            torch.tensor([0, 0, 1]),
            torch.tensor([0, 0, 1]),
            torch.tensor([0, 1, 0]),
            torch.tensor([False, True, False]),
            torch.tensor([[0, 0, 2], [1, 1, 1]]),
            torch.tensor([0, 1]),
            torch.tensor([False, True]),
            2,
            2,
        ),
        "measure_cells": lambda: (
            torch.randint(256, (3, 1, 6, 4), dtype=torch.uint8),
            torch.tensor([[6, 4, 2], [5, 3, 2], [1, 2, 1]]),
            grids,
            2,
            1,
            200,
        ),
        "relative_to_ground": lambda: (
            torch.randint(256, (3, 1, 7, 5), dtype=torch.uint8),
            torch.tensor([[7, 5, 1, 2], [1, 4, 3, 1], [6, 5, 2, 30]]),
            16,
            0.18,
        ),
        "warp": lambda: (
            torch.randint(256, (3, 2, 7, 5), dtype=torch.uint8),
            torch.tensor([[7, 5], [1, 4], [6, 1]]),
            torch.eye(2, 3) + 0.3 * torch.randn(3, 2, 3),
            0.1 * torch.randn(3, 2, 3, 3),
            torch.rand(3, 7, 3),
            torch.rand(3, 3, 5),
        ),
        # More columns than are widened at a time, and multiples of neither a block nor a vector. Integers, because sums
        # of them are exact in any order.
        "half_products": lambda: (
            torch.randint(-9, 10, (5, 261)).float().requires_grad_(),
            torch.randint(-9, 10, (7, 261)).half(),
        ),
        "superpixels": lambda: (
            torch.rand(2, 3, 6, 5),
            torch.rand(2, 6, 5) < 0.8,
            torch.tensor([4, 7]),
            0.25,
        ),
        "induce": lambda: (
            torch.tensor([0, 1, 1, 2]),
            graph[0],
            torch.tensor([[True, True, False], [False, True, True]]),
        ),
    }
    return made[name]()


NAMES = [
    "typed_conv",
    "typed_conv_weight_grad",
    "segment_mean",
    "norm_relu",
    "norm_relu_known",
    "norm_relu_backward",
    "mean_max_pool",
    "mean_max_pool_backward",
    "plan_sweep",
    "plan_readout",
    "measure_cells",
    "relative_to_ground",
    "warp",
    "half_products",
    "superpixels",
    "induce",
]


def test_all_operators_are_tested() -> None:
    assert set(NAMES) == set(ops.definition.PLAIN)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", NAMES)
def test_opcheck(name: str, request: pytest.FixtureRequest) -> None:
    arguments = arguments_of(name)
    tests = ["test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"]
    if "plain" in request.node.name and ops.compiled():
        tests.pop()  # what a compiler is told of them is the same
    # Whoever calls the derivatives that have none of their own detaches.
    torch.library.opcheck(getattr(OPS, name).default, arguments, test_utils=tests)


@pytest.mark.skipif(not ops.compiled(), reason="no kernels were built")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_kernels_agree_with_plain_implementations(name: str, dtype: torch.dtype) -> None:
    arguments = [value.detach() if isinstance(value, Tensor) else value for value in arguments_of(name, dtype)]
    operator = getattr(OPS, name).default
    came = operator(*arguments)
    with plain_operators():
        expected = operator(*arguments)
    assert isinstance(came, Tensor) == isinstance(expected, Tensor)
    for one, other in zip(
        [came] if isinstance(came, Tensor) else came, [expected] if isinstance(came, Tensor) else expected, strict=True
    ):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=CLOSE[dtype], atol=CLOSE[dtype])


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("with_readers", [True, False])
def test_derivatives_of_the_typed_convolution(with_readers: bool) -> None:
    x, rows, weight, readers = arguments_of("typed_conv")
    readers = readers if with_readers else None

    def function(x: Tensor, weight: Tensor) -> Tensor:
        return ops.typed_conv(x, rows, weight, readers)

    assert torch.autograd.gradcheck(function, (x, weight))
    assert torch.autograd.gradgradcheck(function, (x, weight))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", ["segment_mean", "norm_relu", "norm_relu_known", "mean_max_pool"])
def test_derivatives(name: str) -> None:
    arguments = arguments_of(name)
    places = [i for i, value in enumerate(arguments) if isinstance(value, Tensor) and value.requires_grad]

    def function(*inputs: Tensor) -> Tensor:
        own = list(arguments)
        for place, value in zip(places, inputs, strict=True):
            own[place] = value
        out = getattr(ops, name)(*own)
        return out if isinstance(out, Tensor) else out[0]

    inputs = [arguments[place] for place in places]
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.usefixtures("way")
def test_a_row_with_several_readers_of_one_relation() -> None:
    x = torch.tensor([[1.0], [2.0]], requires_grad=True)
    rows = torch.tensor([[1], [1], [0]], dtype=torch.int32)
    weight = torch.tensor([[[3.0]]], requires_grad=True)
    out = ops.typed_conv(x, rows, weight)
    assert out.tolist() == [[3.0], [3.0], [0.0]]
    out.backward(torch.tensor([[1.0], [10.0], [100.0]]))
    assert x.grad is not None
    assert weight.grad is not None
    assert (x.grad.tolist(), weight.grad.tolist()) == ([[33.0], [0.0]], [[[11.0]]])


@pytest.mark.usefixtures("way")
def test_pooling_by_hand() -> None:
    # Graph 0 has two rows, of which both hold the maximum of the second column; graph 1 has none; row 1 is not chosen.
    x = torch.tensor([[1.0, 5.0], [9.0, 9.0], [3.0, 5.0], [-2.0, 7.0]], requires_grad=True)
    out = ops.mean_max_pool(x, torch.tensor([0, 2, 3]), torch.tensor([0, 2, 2, 3]))
    assert out.tolist() == [[2.0, 5.0, 3.0, 5.0], [0.0, 0.0, 0.0, 0.0], [-2.0, 7.0, -2.0, 7.0]]
    out.backward(torch.tensor([[2.0, 4.0, 10.0, 20.0], [1.0, 1.0, 1.0, 1.0], [100.0, 200.0, 300.0, 400.0]]))
    assert x.grad is not None
    assert x.grad.tolist() == [[1.0, 12.0], [0.0, 0.0], [11.0, 12.0], [400.0, 600.0]]


# Readers, relations, channels of the rows and of the results, rows: odd widths, single rows, many relations, nothing.
SHAPES = [
    (37, 9, 32, 32, 30),
    (5000, 9, 14, 10, 500),
    (5, 1, 6, 33, 7),
    (1, 1, 1, 1, 1),
    (300, 20, 9, 50, 90),
    (400, 12, 110, 70, 300),
    (0, 3, 4, 5, 6),
    (7, 0, 4, 5, 6),
    (7, 2, 0, 5, 6),
    (7, 2, 4, 0, 0),
]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_products(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    readers, relations, depth, columns, rows = shape
    x = torch.randn(rows, depth + 4)[:, :depth].to(dtype)  # rows of a wider matrix
    table = torch.randint(rows + 1, (readers, relations), dtype=torch.int32)
    table[torch.rand(readers, relations) < 0.3] = 0
    weight = torch.randn(relations, columns, depth).transpose(1, 2)
    gathered = F.pad(x.double(), (0, 0, 1, 0))[table.flatten()].view(readers, relations * depth)
    expected = gathered @ weight.to(dtype).double().flatten(0, 1)
    came = ops.typed_conv(x, table, weight)
    assert came.dtype == dtype
    scale = 1 + float(expected.abs().max()) if expected.numel() else 1.0
    # Weights are in single precision here, which is all that is left of them.
    close = max(CLOSE[dtype], 1e-6)
    torch.testing.assert_close(came.double(), expected, rtol=0, atol=close * scale)
    grad = torch.randn(readers, columns).to(dtype)
    expected = (gathered.t() @ grad.double()).view(relations, depth, columns)
    came = OPS.typed_conv_weight_grad(x, table, grad, None)
    assert came.dtype == torch.promote_types(dtype, torch.float32)
    scale = 1 + float(expected.abs().max()) if expected.numel() else 1.0
    torch.testing.assert_close(came.double(), expected, rtol=0, atol=max(CLOSE[dtype], 1e-5) * scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_results_do_not_depend_on_the_number_of_threads(dtype: torch.dtype) -> None:
    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            torch.manual_seed(0)
            table, _ = tables(5000, 9, 5000)
            x, weight = torch.randn(5000, 20).to(dtype), torch.randn(9, 20, 24)
            out = ops.typed_conv(x, table, weight)
            gradient = OPS.typed_conv_weight_grad(x, table, out, None)
            normed = ops.norm_relu(out, torch.randn(24), torch.randn(24), 1e-5)
            back_again = OPS.norm_relu_backward(out, out, *torch.randn(2, 24), *normed[1:], 1e-5)
            first = torch.arange(0, 5001, 50)
            pooled = ops.mean_max_pool(out, None, first)
            pooled_gradient = OPS.mean_max_pool_backward(pooled, out, pooled, None, first)
            results.append([out, gradient, *normed, *back_again, pooled, pooled_gradient])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_norm_of_columns_far_from_zero() -> None:
    # A first block unlike the rest, on which the moments are centred.
    x = torch.cat([torch.zeros(256, 2), 1000 + torch.randn(50_000, 2)])
    _, mean, variance = ops.norm_relu(x, torch.ones(2), torch.zeros(2), 1e-5)
    torch.testing.assert_close(mean.double(), x.double().mean(0), rtol=1e-5, atol=0)
    torch.testing.assert_close(variance.double(), x.double().var(0, correction=0), rtol=1e-4, atol=0)


def test_rows_of_no_group() -> None:
    nothing = torch.zeros(0, 4, requires_grad=True)
    out = ops.norm_relu_known(nothing, *torch.ones(4, 4), 1e-5)
    assert out.shape == (0, 4)
    out.sum().backward()
    gradients = OPS.norm_relu_backward(nothing.detach(), nothing.detach(), *torch.ones(4, 4), 1e-5)
    assert [tensor.tolist() for tensor in gradients[1:]] == [[0.0] * 4] * 2


@pytest.mark.parametrize("plain", [False, True])
def test_images_are_moved(plain: bool) -> None:
    pixels = torch.tensor([[[[10, 20, 30, 99], [40, 50, 60, 99], [99, 99, 99, 99]]]], dtype=torch.uint8)
    sizes = torch.tensor([[2, 3]])
    # One pixel is 2 / 3 of half the width, and half a pixel is half of half the height.
    moved = torch.tensor([[[1, 0, 2 / 3], [0, 1, 0]]]), torch.tensor([[[1, 0, 0], [0, 1, 0.5]]])
    mirrored = torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]])
    none = torch.zeros(1, 2, 0, 0), torch.zeros(1, 3, 0), torch.zeros(1, 0, 4)
    # One point moves all pixels of the lower row by as much.
    one = torch.tensor([[[[2 / 3]], [[0.0]]]]), torch.tensor([[[0.0], [1.0], [0.0]]]), torch.ones(1, 1, 4)
    with plain_operators() if plain else nullcontext():
        out = [ops.warp(pixels, sizes, affine, *none)[0, 0].tolist() for affine in (*moved, mirrored)]
        bent = ops.warp(pixels, sizes, torch.eye(2, 3)[None], *one)[0, 0].tolist()
    assert out[0] == [[20, 30, 30, 0], [50, 60, 60, 0], [0] * 4]
    assert out[1] == [[25, 35, 45, 0], [40, 50, 60, 0], [0] * 4]
    assert out[2] == [[30, 20, 10, 0], [60, 50, 40, 0], [0] * 4]
    assert bent == [[10, 20, 30, 0], [50, 60, 60, 0], [0] * 4]


class TestWrongArguments:
    @pytest.mark.parametrize("name", NAMES)
    def test_devices(self, name: str) -> None:
        arguments = arguments_of(name)
        for place, value in enumerate(arguments):
            if not isinstance(value, Tensor):
                continue
            mixed = list(arguments)
            mixed[place] = value.to("meta")
            with pytest.raises(
                ValueError, match=rf"^{name}: \w+: expected a tensor on \w+, as \w+ is, got one on \w+$"
            ):
                getattr(OPS, name)(*mixed)

    @pytest.mark.skipif(not ops.compiled(), reason="PyTorch's own operators have errors of their own")
    @pytest.mark.parametrize("wrong", [-1, 7])
    def test_tables_that_read_what_is_not_there(self, wrong: int) -> None:
        x, rows, weight, _ = arguments_of("typed_conv")
        rows[4, 2] = wrong
        with pytest.raises(RuntimeError, match=rf"typed_conv: expected rows in \[0, 6\], got {wrong}"):
            ops.typed_conv(x, rows, weight)
        with pytest.raises(RuntimeError, match=r"rows in \[0, 6\]"):
            OPS.typed_conv_weight_grad(x, rows, torch.zeros(5, 7, dtype=x.dtype), None)

    @pytest.mark.skipif(not ops.compiled(), reason="PyTorch's own operators have errors of their own")
    @pytest.mark.parametrize(
        ("size", "error"), [([8, 5], "height: expected 1 to 7, got 8"), ([7, 0], "width: expected 1 to 5, got 0")]
    )
    def test_images_that_are_larger_than_their_canvas(self, size: list[int], error: str) -> None:
        pixels = torch.zeros(1, 1, 7, 5, dtype=torch.uint8)
        with pytest.raises(RuntimeError, match=error):
            ops.relative_to_ground(pixels, torch.tensor([[*size, 1, 1]]), 16, 0.18)
        with pytest.raises(RuntimeError, match=error):
            ops.measure_cells(pixels, torch.tensor([[*size, 2]]), torch.tensor([[4, 3], [2, 2]]), 2, 1, 32)

    @pytest.mark.skipif(not ops.compiled(), reason="PyTorch's own operators have errors of their own")
    def test_shapes_and_dtypes(self) -> None:
        x, rows, weight, _ = arguments_of("typed_conv")
        with pytest.raises(RuntimeError, match=r"weight: expected shape \[3, 4, \*\], got \[3, 5, 6\]"):
            ops.typed_conv(x, rows, torch.zeros(3, 5, 6))
        with pytest.raises(RuntimeError, match="rows: expected Int, got Long"):
            ops.typed_conv(x, rows.long(), weight)
        with pytest.raises(RuntimeError, match="first: expected numbers that ascend from 0 to 6"):
            ops.mean_max_pool(x, None, torch.tensor([0, 7]))


def test_gradient_checkpointing() -> None:
    x, rows, weight, readers = arguments_of("typed_conv")
    ones = torch.ones(7, dtype=x.dtype, requires_grad=True)

    def function(x: Tensor, weight: Tensor) -> Tensor:
        out = ops.typed_conv(x, rows, weight, readers)
        out, _, _ = ops.norm_relu(out, ones, ones, 1e-5)
        return ops.mean_max_pool(out, None, torch.tensor([0, 2, 5]))

    expected = torch.autograd.grad(function(x, weight).square().sum(), (x, weight))
    came = torch.autograd.grad(checkpoint(function, x, weight, use_reentrant=False).square().sum(), (x, weight))
    for one, other in zip(came, expected, strict=True):
        assert torch.equal(one, other)


def test_torch_func_is_refused_in_words() -> None:
    x, rows, weight, readers = arguments_of("typed_conv")
    with pytest.raises(RuntimeError, match="functorch transforms"):
        torch.func.grad(lambda w: ops.typed_conv(x.detach(), rows, w, readers).sum())(weight.detach())


def test_levels_of_any_size() -> None:
    # 2³¹ levels do not fit into a table.
    edge_index = torch.tensor([[0, 1], [1, 2]])
    level = topological_levels(edge_index, 3) * (2**30 - 1)
    kinds = torch.tensor([[0], [0], [0], [0]])
    types = torch.zeros(3, dtype=torch.int64)
    sweep = ops.plan_sweep(edge_index, types[:2], types, level, None, kinds, types[:0], (1, 1), edges=False)
    assert sweep.generations[:, 0].tolist() == [0, 2**30 - 1, 2**31 - 2]


@pytest.mark.slow
@pytest.mark.skipif(not ops.compiled(), reason="no kernels were built")
@pytest.mark.parametrize("instructions", ["baseline", "avx2"])
def test_other_instructions(instructions: str) -> None:
    # They are chosen when the library is loaded. A processor that lacks them takes what it has.
    # Plain implementations, and what PyTorch is told of operators, have none.
    some = "not other_instructions and not opcheck and (not plain or agree)"
    command = [sys.executable, "-m", "pytest", "-q", __file__, "-k", some]
    done = subprocess.run(command, env=os.environ | {"GRAPHEME_CPU": instructions}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout

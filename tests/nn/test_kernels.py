"""The compiled kernels against PyTorch's operators, and the whole without them."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from typed_graphs import METADATA, node_by_node, random_dag

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.dag import topological_levels
from grapheme_pyg.errors import GraphError
from grapheme_pyg.nn import DagNN, kernels
from grapheme_pyg.nn.norm import GroupedBatchNormReLU
from grapheme_pyg.nn.pooling import mean_and_max
from grapheme_pyg.nn.sweep import plan_sweep

# Where no compiler was at hand, or the CPU lacks the instructions, there is nothing to compare.
needs_products = pytest.mark.skipif(torch.float32 not in kernels.SUPPORTED, reason="no compiled products here")
DTYPES = [
    pytest.param(dtype, marks=pytest.mark.skipif(dtype not in kernels.SUPPORTED, reason=f"no products of {dtype}"))
    for dtype in (torch.float32, torch.bfloat16)
]
# Of results whose inputs are rounded to the dtype.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 8e-3}


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grapheme_pyg.native.compiled", None)
    monkeypatch.setattr(kernels, "SUPPORTED", frozenset())


def random_table(readers: int, relations: int, rows: int) -> Tensor:
    table = torch.randint(rows + 1, (readers, relations), dtype=torch.int32)
    table[torch.rand(readers, relations) < 0.3] = 0
    return table


def gathered(x: Tensor, table: Tensor) -> Tensor:
    return F.pad(x, (0, 0, 1, 0))[table.flatten()].view(table.shape[0], -1)


# Readers, relations, channels of the rows and of the results, rows: odd widths, single rows, many relations, none read.
SHAPES = [
    (37, 9, 32, 32, 30),
    (1000, 9, 14, 10, 500),
    (5, 1, 6, 33, 7),
    (1, 1, 2, 1, 1),
    (300, 20, 8, 50, 90),
    (400, 12, 110, 70, 300),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_products(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    readers, relations, depth, columns, rows = shape
    x = torch.randn(rows, depth + 4)[:, :depth].to(dtype)  # of a wider matrix, where the dtype stays
    table, weight = random_table(readers, relations, rows), torch.randn(relations, depth, columns)
    expected = gathered(x.double(), table) @ weight.to(dtype).double().flatten(0, 1)
    result = kernels.gather_matmul(x, table, weight)
    assert result.dtype == dtype
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=TOLERANCE[dtype] * (1 + expected.abs().max()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, (5000, 3, 12, 40, 100)])
def test_products_for_weights(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    readers, relations, depth, columns, rows = shape
    x, grad = torch.randn(rows, depth).to(dtype), torch.randn(readers, columns).to(dtype)
    table, start = random_table(readers, relations, rows), torch.randn(relations, depth, columns)
    expected = start.double() + (gathered(x.double(), table).t() @ grad.double()).view_as(start)
    result = kernels.gather_outer(x, table, grad, start.clone())
    # Products of halves are exact in single precision.
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=1e-5 * (1 + expected.abs().max()))


@needs_products
def test_weights_of_any_strides() -> None:
    x, table, weight = torch.randn(40, 6), random_table(25, 4, 40), torch.randn(4, 7, 6)
    result = kernels.gather_matmul(x, table, weight.transpose(1, 2))
    torch.testing.assert_close(result, kernels.gather_matmul(x, table, weight.transpose(1, 2).contiguous()))


@needs_products
def test_nothing_is_read() -> None:
    table = torch.zeros(13, 3, dtype=torch.int32)
    assert torch.equal(kernels.gather_matmul(torch.randn(5, 4), table, torch.randn(3, 4, 9)), torch.zeros(13, 9))


@needs_products
def test_wrong_shapes_are_refused() -> None:
    x, table, weight = torch.randn(5, 4), torch.zeros(2, 3, dtype=torch.int32), torch.randn(3, 4, 6)
    with pytest.raises(ValueError, match=r"weight: expected shape \[3, 4, out_channels\], got \[3, 5, 6\]"):
        kernels.gather_matmul(x, table, torch.randn(3, 5, 6))
    with pytest.raises(ValueError, match=r"rows: expected torch\.int32"):
        kernels.gather_matmul(x, table.long(), weight)
    with pytest.raises(ValueError, match=r"x: expected rows that the kernels take, got torch\.float64"):
        kernels.gather_matmul(x.double(), table, weight)
    with pytest.raises(ValueError, match="grad_out: expected"):
        kernels.gather_outer(x, table, torch.randn(3, 6), weight)


@needs_products
def test_odd_widths_of_halves_go_by_other_ways() -> None:
    assert not kernels.usable(torch.zeros(2, 3, dtype=torch.bfloat16), torch.zeros(1, 3, 2))
    assert kernels.usable(torch.zeros(2, 3), torch.zeros(1, 3, 2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "channels"), [(2, 1), (257, 5), (1000, 33)])
def test_norm_and_rectifier(rows: int, channels: int, dtype: torch.dtype) -> None:
    x = (3 + torch.randn(rows, channels)).to(dtype)
    weight, bias, grad = torch.randn(channels), torch.randn(channels), torch.randn(rows, channels).to(dtype)
    norm = GroupedBatchNormReLU(channels)
    with torch.no_grad():
        norm.weight.copy_(weight)
        norm.bias.copy_(bias)
    one = x.clone().requires_grad_()
    out = norm(one)
    norm.update()
    out.backward(grad)

    other = x.double().requires_grad_()
    reference = torch.nn.BatchNorm1d(channels).double()
    with torch.no_grad():
        reference.weight.copy_(weight)
        reference.bias.copy_(bias)
    expected = reference(other).relu()
    expected.backward(grad.double())
    atol = TOLERANCE[dtype] * 4
    torch.testing.assert_close(out.double(), expected, rtol=TOLERANCE[dtype], atol=atol)
    torch.testing.assert_close(one.grad.double(), other.grad, rtol=2 * TOLERANCE[dtype], atol=4 * atol)
    for mine, theirs in ((norm.weight, reference.weight), (norm.bias, reference.bias)):
        torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-2, atol=1e-3 if rows < 1000 else 0.2)
    torch.testing.assert_close(norm.running_mean.double(), reference.running_mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm.running_var.double(), reference.running_var, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_norm_with_running_statistics(dtype: torch.dtype) -> None:
    norm, x = GroupedBatchNormReLU(5).eval(), (3 + torch.randn(700, 5)).to(dtype)
    with torch.no_grad():
        for values in (norm.running_mean, norm.weight, norm.bias):
            values.copy_(torch.randn(5))
        norm.running_var.copy_(torch.rand(5) + 0.5)
        statistics = (norm.running_mean.double(), norm.running_var.double())
        affine = (norm.weight.double(), norm.bias.double())
        expected = F.batch_norm(x.double(), *statistics, *affine, eps=norm.eps).relu()
        torch.testing.assert_close(norm(x).double(), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    # With gradients it is another code.
    torch.testing.assert_close(norm(x).double(), expected, rtol=2 * TOLERANCE[dtype], atol=2 * TOLERANCE[dtype])


def test_norm_of_columns_far_from_zero() -> None:
    # A first block unlike the rest, on which the moments are centred.
    x = torch.cat([torch.zeros(256, 2), 1000 + torch.randn(50_000, 2)])
    norm = GroupedBatchNormReLU(2, momentum=1.0)
    norm(x)
    norm.update()
    torch.testing.assert_close(norm.running_var.double(), x.double().var(0), rtol=1e-4, atol=0)


def test_pooling_by_hand() -> None:
    # Graph 0 has two rows, of which both hold the maximum of the second column; graph 1 has none, graph 2 has one.
    states = torch.tensor([[1.0, 5.0], [3.0, 5.0], [-2.0, 7.0]], requires_grad=True)
    out = mean_and_max(states, torch.tensor([0, 0, 2]), 3)
    assert out.tolist() == [[2.0, 5.0, 3.0, 5.0], [0.0, 0.0, 0.0, 0.0], [-2.0, 7.0, -2.0, 7.0]]
    out.backward(torch.tensor([[2.0, 4.0, 10.0, 20.0], [1.0, 1.0, 1.0, 1.0], [100.0, 200.0, 300.0, 400.0]]))
    assert states.grad.tolist() == [[1.0, 12.0], [11.0, 12.0], [400.0, 600.0]]


def test_pooling_refuses_graphs_of_another_number() -> None:
    with pytest.raises(ValueError, match=r"graph: expected shape \[3\], got \[5\]"):
        mean_and_max(torch.zeros(3, 2), torch.zeros(5, dtype=torch.int64), 1)


@needs_products
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ([0, 1, 0], r"ascending values in \[0, 3\), got 0 at node 2, after 1"),
        ([0, 1, 3], r"values in \[0, 3\), got 3 at node 2"),
        ([-1, 0, 1], r"values in \[0, 3\), got -1 at node 0"),
    ],
)
def test_pooling_refuses_graphs_out_of_order_or_range(graph: list[int], message: str, dtype: torch.dtype) -> None:
    with pytest.raises(GraphError, match=f"graph: expected {message}"):
        mean_and_max(torch.zeros(3, 2, dtype=dtype), torch.tensor(graph), 3)


@pytest.mark.parametrize("level", [2**31, 2**62, 2**63 - 1])
def test_levels_that_would_wrap_around_are_refused(level: int) -> None:
    model = DagNN((["a", "b"], [("a", "to", "b")]), 1, 1, norm=None)
    graph = torch.ones(2, 1), torch.tensor([[0], [1]]), torch.tensor([0]), torch.tensor([0, 1])
    with pytest.raises(GraphError, match=rf"level: expected values in \[0, 2147483648\), got {level} at node 1"):
        model(*graph, torch.tensor([0, level]))
    assert model(*graph, torch.tensor([0, 2**31 - 1])).isfinite().all()


def test_pooling_gradients() -> None:
    states = torch.randn(9, 3, dtype=torch.float64, requires_grad=True)
    graph = torch.tensor([0, 0, 0, 1, 1, 3, 3, 3, 3])
    assert torch.autograd.gradcheck(lambda x: mean_and_max(x, graph, 5), [states])


@pytest.mark.parametrize("dtype", DTYPES)
def test_pooling_equals_the_one_in_double_precision(dtype: torch.dtype) -> None:
    graph = torch.randint(20, (500,)).sort().values
    states = torch.randn(500, 7).relu().to(dtype)  # many ties, at zero
    grad = torch.randn(25, 14)
    results = []
    for x in (states.clone(), states.double()):
        out = mean_and_max(x.requires_grad_(), graph, 25)
        out.backward(grad.to(out.dtype))
        results.append((out.double(), x.grad.double()))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=0, atol=1e-5)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


class TestDagNN:
    @pytest.mark.parametrize("norm", ["batch", None])
    @pytest.mark.parametrize(("num_nodes", "num_edges"), [(1, 0), (7, 9), (30, 200)])
    def test_in_single_precision_equals_the_loop_over_nodes(
        self, norm: str | None, num_nodes: int, num_edges: int
    ) -> None:
        for seed in range(3):
            graph = random_dag(num_nodes, num_edges, seed)
            model = DagNN(METADATA, [5, 0, 2], [4, 3, 6], edge_dim=3, norm=norm).double().eval()
            expected = node_by_node(model, graph)
            single = {key: value.float() if value.is_floating_point() else value for key, value in graph.items()}
            torch.testing.assert_close(model.float()(**single).double(), expected, rtol=0, atol=1e-5)

    def test_gradients_in_single_precision(self) -> None:
        # Several edges in a slot, several readers of a relation, edge attributes; against double precision.
        graph = random_dag(60, 300, seed=4)
        gradients = []
        for dtype in (torch.float64, torch.float32):
            torch.manual_seed(0)
            model = DagNN(METADATA, [5, 0, 2], [4, 3, 6], edge_dim=3).to(dtype)
            fields = {k: v.detach().to(dtype, copy=True) if v.is_floating_point() else v for k, v in graph.items()}
            fields["x"].requires_grad_()
            fields["edge_attr"].requires_grad_()
            model(**fields).square().sum().backward()
            leaves = [fields["x"], fields["edge_attr"], *model.parameters()]
            gradients.append([leaf.grad.double() for leaf in leaves])
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


class TestWithoutKernels:
    def model_and_images(self) -> tuple[ImageClassificationModel, Tensor, Tensor]:
        torch.manual_seed(0)
        images = torch.randint(256, (6, 24, 20), dtype=torch.uint8)
        images[:, :12] //= 8
        return ImageClassificationModel(VisionBrain(), classes=3), images, torch.tensor([0, 1, 2, 0, 1, 2])

    def step(self) -> list[Tensor]:
        model, images, labels = self.model_and_images()
        model.classifier.dropout = 0.0
        F.cross_entropy(model(model.vision.batch(images)), labels).backward()
        return [p.grad for p in model.parameters() if p.grad is not None] + [b.float() for b in model.buffers()]

    def test_a_step_is_the_same(self, request: pytest.FixtureRequest) -> None:
        with_kernels = self.step()
        request.getfixturevalue("without_kernels")
        for one, other in zip(with_kernels, self.step(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)

    def test_graphs_are_the_same_bit_for_bit(self, request: pytest.FixtureRequest) -> None:
        _, images, labels = self.model_and_images()
        vision = VisionBrain(edge_attr=True, seg=True)
        expected = vision.batch(images, labels)
        request.getfixturevalue("without_kernels")
        batch = vision.batch(images, labels)
        assert set(batch.keys()) == set(expected.keys())
        for key, value in expected.items():
            assert torch.equal(batch[key], value), key

    @pytest.mark.parametrize(("num_nodes", "num_edges"), [(1, 0), (40, 30), (30, 200)])
    def test_plans_are_the_same(self, num_nodes: int, num_edges: int, request: pytest.FixtureRequest) -> None:
        graph = random_dag(num_nodes, num_edges, seed=1)
        vocabulary = DagNN(METADATA, 1, 1).vocabulary
        level = topological_levels(graph["edge_index"], num_nodes)
        arguments = (graph["edge_index"], graph["edge_type"], graph["node_type"], level, vocabulary)
        plan = plan_sweep(*arguments)
        tables = [block.slots.tables for group in plan.groups for block in group.blocks]
        request.getfixturevalue("without_kernels")
        other = plan_sweep(*arguments)
        assert torch.equal(plan.group_of, other.group_of)
        assert torch.equal(plan.row_of, other.row_of)
        for one, two in zip(plan.groups, other.groups, strict=True):
            assert (one.level, one.node_type) == (two.level, two.node_type)
            assert torch.equal(one.nodes, two.nodes)
            for mine, theirs in zip(one.blocks, two.blocks, strict=True):
                assert torch.equal(mine.slot, theirs.slot)
                assert torch.equal(mine.source, theirs.source)
        others = [block.slots.tables for group in other.groups for block in group.blocks]
        for mine, theirs in zip(tables, others, strict=True):
            # Where a slot has several sources, either may have been the last to be written.
            assert all(torch.equal(a > 0, b > 0) for a, b in zip(mine, theirs, strict=True))


@needs_products
def test_results_do_not_depend_on_the_number_of_threads() -> None:
    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            torch.manual_seed(0)
            x, table, weight = torch.randn(5000, 20), random_table(5000, 9, 5000), torch.randn(9, 20, 24)
            out = kernels.gather_matmul(x, table, weight)
            norm = kernels.norm_relu(out, torch.randn(24), torch.randn(24), 1e-5)
            outer = kernels.gather_outer(x, table, out, torch.zeros(9, 20, 24))
            results.append([out, *norm, outer])
        for other in results[1:]:
            assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    finally:
        torch.set_num_threads(threads)

import copy

import pytest
import torch
from process_groups import in_threads
from torch import Tensor
from torch.distributed import ProcessGroup

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.datasets import Split
from grapheme_pyg.nn import joint_norm
from grapheme_pyg.nn.joint_norm import JointNorms, rows_of_all
from grapheme_pyg.nn.norm import GroupedBatchNormReLU, Statistics
from grapheme_pyg.nn.plan import Generation
from grapheme_pyg.training.loading import no_graphs


def group_of(level: int, node_type: int, rows: int) -> Generation:
    return Generation(level, node_type, torch.arange(1, rows + 1, dtype=torch.int32)[:, None], ())


def normalise(parts: list[Tensor], weigh: list[Tensor]) -> tuple[list[Tensor], list[Tensor], GroupedBatchNormReLU]:
    """One group shared among processes: results, gradients of the rows, and the norm of the first."""

    def run(rank: int, processes: ProcessGroup) -> tuple[Tensor, Tensor, GroupedBatchNormReLU]:
        norm = GroupedBatchNormReLU(parts[0].shape[1]).to(parts[0].dtype)
        torch.nn.init.constant_(norm.bias, 1.0)
        rows = parts[rank].clone().requires_grad_()
        groups = [group_of(0, 0, len(rows))] if len(rows) else []
        seen: list[Statistics] = []
        joint = JointNorms(groups, [norm], [seen], processes)
        out = joint.normalise(rows, groups[0]) if groups else rows
        (out,) = joint.finish(rows, [out])
        (out * weigh[rank]).sum().backward()
        norm.update(seen)
        return out.detach(), rows.grad, norm

    outs, grads, norms = zip(*in_threads(len(parts), run), strict=True)
    return list(outs), list(grads), norms[0]


def test_by_hand() -> None:
    # 1 and 3 here, 5 there: mean 3, biased variance 8/3, unbiased 4; the running ones move by a tenth.
    outs, _, norm = normalise([torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0]])], [torch.ones(2, 1), torch.ones(1)])
    deviation = (8 / 3 + 1e-5) ** 0.5
    torch.testing.assert_close(outs[0], torch.tensor([[0.0], [1.0]]))
    torch.testing.assert_close(outs[1], torch.tensor([[1 + 2 / deviation]]))
    torch.testing.assert_close(norm.running_mean, torch.tensor([0.3]))
    torch.testing.assert_close(norm.running_var, torch.tensor([0.9 + 0.4]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sizes", [(5, 4), (1, 1), (700, 3, 0), (0, 300)])
def test_as_one_process_would(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    rows = (3 * torch.randn(sum(sizes), 6) + 2).to(dtype)
    weigh = torch.randn(sum(sizes), 6).to(dtype)
    # In single precision and half, weights are in single precision.
    norm = GroupedBatchNormReLU(6).to(torch.promote_types(dtype, torch.float32))
    torch.nn.init.constant_(norm.bias, 1.0)
    x = rows.clone().requires_grad_()
    seen: list[Statistics] = []
    expected = norm(x, seen)
    (expected * weigh).sum().backward()
    norm.update(seen)
    outs, grads, joint = normalise(list(rows.split(sizes)), list(weigh.split(sizes)))
    close = {torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: 0.1}[dtype]
    torch.testing.assert_close(torch.cat(outs), expected.detach(), rtol=close, atol=close)
    if dtype == torch.bfloat16:
        # Where the rectifier begins, rounding decides whether a gradient comes through.
        assert ((torch.cat(grads) - x.grad).abs() > close).float().mean() < 0.01
    else:
        torch.testing.assert_close(torch.cat(grads), x.grad, rtol=close, atol=close)
        torch.testing.assert_close(joint.running_mean, norm.running_mean, rtol=close, atol=close)
        torch.testing.assert_close(joint.running_var, norm.running_var, rtol=close, atol=close)


def test_large_means_do_not_cancel() -> None:
    # Squares are 10⁸ times the variance: single precision has seven digits.
    rows = torch.randn(600, 3, dtype=torch.float64) + 1e4
    outs, _, _ = normalise(list(rows.float().split((400, 200))), [torch.ones(400, 3), torch.ones(200, 3)])
    exact = rows.float().double()
    expected = ((exact - exact.mean(0)) / (exact.var(0, correction=0) + 1e-5).sqrt() + 1).relu()
    torch.testing.assert_close(torch.cat(outs).double(), expected, rtol=0, atol=1e-2)


def test_who_has_which_groups() -> None:
    groups = [[group_of(0, 1, 3), group_of(2, 0, 1)], [group_of(0, 0, 2), group_of(2, 0, 4)], []]
    expected = {(0, 0): 2, (0, 1): 3, (2, 0): 5}
    assert in_threads(3, lambda rank, processes: rows_of_all(groups[rank], 2, processes)) == [expected] * 3
    # Levels beyond those that are counted at once.
    groups[2] = [group_of(0, 1, 1), group_of(50, 1, 7)]
    expected = {(0, 0): 2, (0, 1): 4, (2, 0): 5, (50, 1): 7}
    assert in_threads(3, lambda rank, processes: rows_of_all(groups[rank], 2, processes)) == [expected] * 3


def gradients(model: ImageClassificationModel, images: Tensor, labels: Tensor) -> dict[str, Tensor | None]:
    logits = model.train()(model.vision.batch(images) if len(images) else no_graphs(model.vision))
    torch.nn.functional.cross_entropy(logits, labels, reduction="sum").backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("mode", ["grid", "blob", "superpixel", "hybrid"])
def test_a_model_whose_processes_have_other_groups(
    mode: str, digits: tuple[Split, Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ImageClassificationModel(VisionBrain(mode=mode), dropout=0).double()
    images, labels = digits[0].images[100:124].clone(), digits[0].labels[100:124]
    # Blank: without most types of nodes. The second process has nothing else.
    images[1::2] = 0
    alone = copy.deepcopy(model)
    expected = gradients(alone, images, labels)

    def run(rank: int, processes: ProcessGroup) -> tuple[ImageClassificationModel, dict[str, Tensor | None]]:
        own = copy.deepcopy(model)
        own.dag.process_group = processes
        return own, gradients(own, images[rank::2], labels[rank::2])

    models, grads = zip(*in_threads(2, run), strict=True)
    for name, grad in expected.items():
        parts = [part[name] for part in grads if part[name] is not None]
        assert (grad is None) == (not parts), name
        if grad is not None:
            torch.testing.assert_close(sum(parts), grad, rtol=0, atol=1e-9 * float(grad.abs().max()), msg=name)
    for name, buffer in alone.named_buffers():
        for other in models:
            torch.testing.assert_close(dict(other.named_buffers())[name], buffer, rtol=1e-9, atol=1e-11, msg=name)
    # Statistics of each process alone give something else.
    monkeypatch.setattr(joint_norm.dist, "all_reduce", lambda *_, **__: None)
    name = "classifier.project.weight"
    apart = sum(part[name] for _, part in in_threads(2, run))
    assert (apart - expected[name]).abs().max() > 1e-3 * expected[name].abs().max()


def test_a_process_without_graphs_takes_part(digits: tuple[Split, Split]) -> None:
    model = ImageClassificationModel(VisionBrain(), dropout=0).double()
    images, labels = digits[0].images[:1], digits[0].labels[:1]
    expected = gradients(copy.deepcopy(model), images, labels)

    def run(rank: int, processes: ProcessGroup) -> dict[str, Tensor | None]:
        own = copy.deepcopy(model)
        own.dag.process_group = processes
        return gradients(own, images[rank:], labels[rank:])

    for name, grad in in_threads(2, run)[0].items():
        torch.testing.assert_close(grad, expected[name], msg=name)


def test_evaluation_asks_nobody(digits: tuple[Split, Split]) -> None:
    model = ImageClassificationModel(VisionBrain(), dropout=0).eval()
    expected = model.predict(digits[0].images[:2]).similarities
    # An exchange with another that never comes would not end.
    model.dag.process_group = object()
    assert torch.equal(model.predict(digits[0].images[:2]).similarities, expected)

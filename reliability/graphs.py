"""Graphs from strangers: malformed ones are refused before anything is done with them, odd ones are computed."""

import random
from collections.abc import Callable
from contextlib import nullcontext

import torch
from harness import Check, main
from made_graphs import MODES, NORMS, make_model, random_graph, random_image
from malformations import MALFORMATIONS, Fields
from torch import Generator
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from grapheme_pyg.errors import GraphError
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.testing import plain_operators
from grapheme_pyg.training.module import ClassifierTraining
from grapheme_pyg.training.settings import TrainingSettings
from grapheme_pyg.vision import ImageGraph

NAMES = ("x", "edge_index", "edge_type", "node_type", "level", "edge_attr", "batch")


def malformed(number: int) -> dict[str, float]:
    """One graph of each kind after the other; all ways into the model refuse it, and nothing of the model changes."""
    rng, generator = random.Random(number), Generator().manual_seed(number)
    spoil = MALFORMATIONS[number % len(MALFORMATIONS)]
    model = make_model(MODES[number // len(MALFORMATIONS) % 4])
    fields = _fields(model, [model.vision(random_image(generator)) for _ in range(rng.randint(2, 4))])
    model.check(_batch(fields))
    start, *parts = spoil(fields, rng)
    before = {name: value.clone() for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    training = ClassifierTraining(model, TrainingSettings())
    batch = _batch(fields)
    named = {name: fields[name] for name in NAMES}
    ways: list[Callable[[], object]] = [
        lambda: model.check(batch),
        lambda: model(batch),
        lambda: model.forward_graph(**named, batch_size=fields["num_graphs"]),
        lambda: training.on_before_batch_transfer(batch, 0),
    ]
    for context in (nullcontext, plain_operators):
        for way in ways:
            with context():
                refused(way, start, parts)
    # Running statistics move in training, before something is found to be wrong at a later level.
    model.train()
    try:
        refused(lambda: model(batch), start, parts)
    finally:
        model.eval()
    after = model.state_dict()
    changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
    if changed:
        raise AssertionError(f"expected a model that stays as it is, got others for {changed}")
    return {}


def refused(way: Callable[[], object], start: str, parts: list[str]) -> None:
    """Raises AssertionError unless a call raises a GraphError that names a field, and all that else it must."""
    try:
        way()
    except GraphError as error:
        message = str(error)
    else:
        raise AssertionError(f"{start}: expected an error that names {parts}, got none")
    if not message.startswith(start) or not all(part in message for part in parts):
        raise AssertionError(f"{start}: expected an error that names {parts}, got {message!r}")


def malformed_labels(number: int) -> dict[str, float]:
    """What is wrong with classes is found before a batch is moved."""
    rng, generator = random.Random(number), Generator().manual_seed(number)
    model = make_model(MODES[number % 4])
    images = [random_image(generator) for _ in range(3)]
    batch = model.vision.batch(images, torch.tensor([0, 4, 9]))
    training = ClassifierTraining(model, TrainingSettings())
    training.on_before_batch_transfer(batch, 0)
    graph, value = rng.randrange(3), rng.choice([-1, 10, 2**40, -(2**62)])
    wrong = batch.y.clone()
    wrong[graph] = value
    labels, parts = rng.choice(
        [
            (wrong, [f"expected values in [0, 10), got {value} at graph"]),
            (batch.y.int(), ["torch.int32"]),
            (batch.y.float(), ["torch.float32"]),
            (batch.y[:2], ["[3]", "[2]"]),
            (batch.y[:, None], ["[3]", "[3, 1]"]),
            (None, ["NoneType"]),
            ([0, 4, 9], ["list"]),
        ]
    )
    batch.y = labels
    refused(lambda: training.on_before_batch_transfer(batch, 0), "y: ", parts)
    return {}


def odd(number: int) -> dict[str, float]:
    """Graphs that no image has, some empty, alone and in a batch, in training and in evaluation."""
    rng, generator = random.Random(number), Generator().manual_seed(number)
    model = make_model(MODES[number % 4], NORMS[number // 4 % 3])
    graphs = []
    for _ in range(rng.choice([1, 2, 5])):
        num_nodes = rng.choice([0, 1, 2, 10, 40])
        graphs.append(random_graph(model, num_nodes, rng.choice([0, 1, 3 * num_nodes]), generator))
    batch = next(iter(DataLoader(graphs, batch_size=len(graphs))))
    logits = model(batch)
    alone = torch.cat([model(graph) for graph in graphs])
    torch.testing.assert_close(logits, alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        model.forward_graph(**{name: batch[name] for name in NAMES}, batch_size=batch.num_graphs), logits
    )
    kept = {name: value.clone() for name, value in model.named_buffers()}
    for training in (False, True):
        model.train(training)
        batch.x = batch.x.detach().requires_grad_()
        model.zero_grad()
        came = model(batch)
        came.square().sum().backward()
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        finite = [tensor.isfinite().all() for tensor in [came, *model.buffers(), *gradients]]
        slopes = batch.x.grad
        if not all(finite) or (slopes is not None and not bool(slopes.isfinite().all())):
            raise AssertionError(f"expected finite logits and gradients, got others; training: {training}")
    model.eval().zero_grad()
    for name, value in model.named_buffers():
        value.copy_(kept[name])
    return {"nodes": float(batch.x.shape[0]), "edges": float(batch.edge_index.shape[1])}


def _fields(model: ImageClassificationModel, graphs: list[ImageGraph]) -> Fields:
    """The fields of the graphs together, in memory of their own, and what they are to fit."""
    batch = Batch.from_data_list(graphs)
    described = {
        "num_graphs": batch.num_graphs,
        "num_node_types": len(model.dag.vocabulary.node_types),
        "num_features": max(model.dag.in_channels),
        "endpoints": model.dag.vocabulary.endpoints,
    }
    return {name: batch[name].clone() for name in NAMES} | described


def _batch(fields: Fields) -> Batch:
    batch = Batch(_base_cls=Data, **{name: fields[name] for name in NAMES if fields[name] is not None})
    batch._num_graphs = fields["num_graphs"]
    batch.y = torch.zeros(fields["num_graphs"], dtype=torch.int64)
    return batch


CHECKS = (
    Check(
        "malformed_graphs",
        "1,000 malformed graphs of 20 kinds are refused, with field, place, value and range; the model stays as it is",
        50 * len(MALFORMATIONS),
        malformed,
    ),
    Check("malformed_labels", "100 batches with wrong classes are refused before they move", 100, malformed_labels),
    Check(
        "odd_graphs",
        "600 odd graphs (no edges, isolated nodes, edges twice, no nodes, one): finite logits and gradients",
        600,
        odd,
    ),
)

if __name__ == "__main__":
    raise SystemExit(main(CHECKS))

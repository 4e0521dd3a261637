"""Corruptions of the robustness benchmark: what they do to images made by hand, and to graphs."""

from io import BytesIO
from pathlib import Path

import pytest
import robustness
import torch
from corruptions import CORRUPTIONS, PROBABILITIES, Corruption
from example_cnn import ExampleCNN
from graph_corruptions import drop_edges, drop_nodes, pooled_nodes
from safetensors.torch import save_file
from torch import Generator, Tensor
from torch_geometric.data import Batch
from typed_graphs import states_of

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.dag import sinks
from grapheme_pyg.testing import check_graph

BY_NAME = {corruption.name: corruption for corruption in CORRUPTIONS}
every = pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.name)
FIELDS = {"x", "pos", "node_type", "level", "edge_index", "edge_type", "edge_attr", "seg", "image_size", "y"}


def one_pixel(size: int, y: int, x: int) -> Tensor:
    image = torch.zeros(1, size, size, dtype=torch.uint8)
    image[0, y, x] = 255
    return image


@pytest.fixture
def images() -> Tensor:
    """A filled square, a diagonal, a ring and a bar, of several greys, away from the border."""
    images = torch.zeros(4, 28, 28, dtype=torch.uint8)
    images[0, 8:18, 9:20] = 255
    images[1, torch.arange(5, 22), torch.arange(6, 23)] = 200
    images[2, 6:22, 6:22] = 130
    images[2, 9:19, 9:19] = 0
    images[3, 8:20, 8:13] = 180
    return images


# Images


@every
def test_keeps_dtype_shape_and_input(corruption: Corruption, images: Tensor) -> None:
    before = images.clone()
    assert len(corruption.severities) == 5
    for severity in corruption.severities:
        out = corruption(images, severity)
        assert out.dtype == torch.uint8
        assert out.shape == images.shape
        assert not torch.equal(out, images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("corruption", [c for c in CORRUPTIONS if c.neutral is not None], ids=lambda c: c.name)
def test_neutral_severity_changes_nothing(corruption: Corruption, images: Tensor) -> None:
    assert corruption.neutral is not None
    assert torch.equal(corruption(images, corruption.neutral), images)


@every
def test_is_a_function_of_image_severity_and_seed(corruption: Corruption, images: Tensor) -> None:
    severity = corruption.severities[2]
    several = images.repeat(6, 1, 1)  # else all might be shifted or turned to the same side by two seeds
    out = corruption(several, severity, seed=1)
    assert torch.equal(corruption(several, severity, seed=1), out)
    # Images that come after do not matter: the first 1,000 of 2,000 are corrupted as they are alone.
    assert torch.equal(corruption(several[:4], severity, seed=1), out[:4])
    drawn = {"Gaussian noise", "shot noise", "impulse noise", "patches dropped", "shift", "rotation"}
    assert torch.equal(corruption(several, severity, seed=2), out) == (corruption.name not in drawn)


@every
@pytest.mark.parametrize("wrong", [torch.zeros(1, 28, 28), torch.zeros(28, 28, dtype=torch.uint8)])
def test_refuses_other_images(corruption: Corruption, wrong: Tensor) -> None:
    with pytest.raises(ValueError, match=r"^images: expected torch.uint8 of shape \[N, H, W\], got torch\."):
        corruption(wrong, corruption.severities[0])


def test_inversion_and_contrast_are_exact() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    assert torch.equal(BY_NAME["inversion"](ramp, 1), 255 - ramp)
    assert torch.equal(BY_NAME["inversion"](ramp, 0), torch.full_like(ramp, 255))
    assert torch.equal(BY_NAME["low contrast"](2 * (ramp // 2), 0.5), ramp // 2)


def test_shift_by_whole_pixels_is_exact() -> None:
    centre = torch.tensor([6, 6])
    images = one_pixel(13, 6, 6).repeat(40, 1, 1)
    images[:, 0, 12] = 7  # goes off the border or stays in, and never comes back at the other side
    shift = BY_NAME["shift"]
    steps = []
    for pixels in (1, 2, 5):
        out = shift(images, pixels)
        graph, *place = (out == 255).nonzero(as_tuple=True)
        assert graph.tolist() == list(range(40))
        steps.append((torch.stack(place, dim=1) - centre) / pixels)
        assert bool(((out == 7).sum((1, 2)) <= 1).all())
        assert bool(((out != 0).sum((1, 2)) <= 2).all())
    # The eight directions, the same ones at every severity.
    assert steps[0].unique(dim=0).tolist() == [[y, x] for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    assert torch.equal(steps[0], steps[1])
    assert torch.equal(steps[0], steps[2])


def test_scale_rotation_and_blur_by_hand(images: Tensor) -> None:
    square = torch.zeros(1, 8, 8, dtype=torch.uint8)
    square[:, 2:6, 2:6] = 255
    half = torch.zeros_like(square)
    half[:, 3:5, 3:5] = 255
    assert torch.equal(BY_NAME["smaller"](square, 0.5), half)
    diagonal = images[1]
    turned = BY_NAME["rotation"](diagonal.expand(12, 28, 28), 90)
    sides = [[torch.equal(image, diagonal.rot90(side)) for side in (1, -1)] for image in turned]
    assert all(sum(side) == 1 for side in sides)
    assert [True, False] in sides
    assert [False, True] in sides
    blurred = BY_NAME["blur"](one_pixel(15, 7, 7), 1)[0]
    assert int(blurred[7, 7]) == round(255 / (2 * torch.pi))
    assert torch.equal(blurred, blurred.t())


def test_strokes_move_their_edges_by_the_radius() -> None:
    dot = one_pixel(5, 2, 2)
    # A quarter of a pixel on each of the four sides: a quarter of each neighbour; of the pixel itself, a quarter stays.
    cross = torch.zeros(5, 5, dtype=torch.uint8)
    cross[2, 1:4] = cross[1:4, 2] = 64
    cross[2, 2] = 255
    assert torch.equal(BY_NAME["thicker strokes"](dot, 0.25)[0], cross)
    assert torch.equal(BY_NAME["thinner strokes"](dot, 0.25), dot // 255 * 64)
    assert not BY_NAME["thinner strokes"](dot, 0.5).any()


def test_patches_are_cells_and_severities_nested() -> None:
    images = torch.full((20, 28, 28), 255, dtype=torch.uint8)
    patches = BY_NAME["patches dropped"]
    before = torch.zeros_like(images, dtype=torch.bool)
    for p in (0, *PROBABILITIES, 1):
        dropped = patches(images, p) == 0
        cells = dropped.view(20, 14, 2, 14, 2)
        assert torch.equal(cells, cells[:, :, :1, :, :1].expand_as(cells))
        assert dropped.float().mean().item() == pytest.approx(p, abs=0.03)
        assert bool((before <= dropped).all())
        before = dropped
    assert bool(before.all())
    assert patches(images[:, :5, :7], 0.5).shape == (20, 5, 7)


def test_impulse_noise_hits_more_and_more_pixels() -> None:
    images = torch.full((20, 28, 28), 100, dtype=torch.uint8)
    noise = BY_NAME["impulse noise"]
    mild, severe, all_hit = (noise(images, p) for p in (0.1, 0.3, 1))
    assert (mild != 100).float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert torch.equal(severe[mild != 100], mild[mild != 100])
    assert set(all_hit.unique().tolist()) == {0, 255}


# Graphs


@pytest.fixture
def vision() -> VisionBrain:
    # One round of the coarsest cells: they have features of their own, with or without edges.
    return VisionBrain(rounds=(3, 2, 1), edge_attr=True, seg=True)


@pytest.fixture
def batch(vision: VisionBrain, images: Tensor) -> Batch:
    """Three graphs and, in their midst, one of a single node."""
    return vision.batch(torch.cat([images[:2], torch.zeros_like(images[:1]), images[2:]]), y=range(5))


def drop(kind: str, batch: Batch, p: float, vision: VisionBrain, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return drop_nodes(batch, p, vision, generator) if kind == "nodes" else drop_edges(batch, p, generator)


def nodes_of(batch: Batch) -> set[tuple[float, ...]]:
    """What tells nodes apart, whatever their numbers."""
    return set(map(tuple, torch.cat([batch.batch[:, None], batch.level[:, None], batch.pos], dim=1).tolist()))


def edges_of(batch: Batch) -> set[tuple[float, ...]]:
    node = torch.cat([batch.batch[:, None], batch.level[:, None], batch.pos], dim=1)
    return set(map(tuple, node[batch.edge_index].transpose(0, 1).flatten(1).tolist()))


both = pytest.mark.parametrize("kind", ["nodes", "edges"])


@both
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1.0])
def test_graphs_stay_valid(kind: str, p: float, batch: Batch, vision: VisionBrain) -> None:
    before = batch.clone()
    out = drop(kind, batch, p, vision)
    assert all(torch.equal(batch[name], before[name]) for name in [*FIELDS, "batch", "ptr"])
    graphs = out.to_data_list()
    assert len(graphs) == 5
    for graph in graphs:
        check_graph(graph, vision.metadata)
    # A batch in every respect: what PyG makes of the single graphs.
    again = Batch.from_data_list(graphs)
    assert set(out.keys()) == set(again.keys()) == FIELDS | {"batch", "ptr"}
    for name in again.keys():  # noqa: SIM118
        torch.testing.assert_close(out[name], again[name], rtol=0, atol=0)
    for name in FIELDS:
        assert torch.equal(out._slice_dict[name], again._slice_dict[name]), name
        assert torch.equal(torch.as_tensor(out._inc_dict[name]), torch.as_tensor(again._inc_dict[name])), name
    for graph, original in zip(graphs, before.to_data_list(), strict=True):
        # Pixels point at the node of the same place, and at none if it was dropped.
        there = graph.seg >= 0
        assert torch.equal(graph.pos[graph.seg[there]], original.pos[original.seg[there]])
        assert int((graph.level == 0).sum()) == graph.seg[there].unique().numel()


@both
def test_dropping_nothing_is_the_identity(kind: str, batch: Batch, vision: VisionBrain) -> None:
    out = drop(kind, batch, 0, vision)
    assert all(torch.equal(out[name], batch[name]) for name in [*FIELDS, "batch", "ptr"])


@both
def test_severities_are_nested_and_the_readout_stays(kind: str, batch: Batch, vision: VisionBrain) -> None:
    read = sinks(batch.edge_index, batch.num_nodes)
    last = batch
    for p in (*PROBABILITIES, 1):
        out = drop(kind, batch, p, vision)
        assert nodes_of(out) <= nodes_of(last)
        assert edges_of(out) < edges_of(last)
        left = sinks(out.edge_index, out.num_nodes)
        for name in ("x", "pos", "node_type", "level", "batch"):
            assert torch.equal(out[name][left], batch[name][read])
        last = out
    if kind == "nodes":  # all cells but the finest
        coarse = torch.tensor(vision.node_levels)[batch.node_type] > 0
        assert torch.equal(last.pos, batch.pos[coarse])
        assert last.num_edges > 0
    else:
        assert torch.equal(last.pos, batch.pos[read])
        assert last.num_edges == 0


def test_cells_go_with_all_their_rounds(batch: Batch, vision: VisionBrain) -> None:
    out = drop_nodes(batch, 0.4, vision, torch.Generator().manual_seed(3))
    for graph in out.to_data_list():
        rounds = [graph.pos[graph.level == level].tolist() for level in range(vision.finder.rounds[0])]
        assert rounds[0] == rounds[1] == rounds[2]
    # Induced: no edge between two nodes that stay is missing.
    kept = nodes_of(out)
    inside = {edge for edge in edges_of(batch) if edge[:4] in kept and edge[4:] in kept}
    assert edges_of(out) == inside
    cells = [int((each.level == 0).sum()) for each in (out, batch)]
    assert cells[0] / cells[1] == pytest.approx(0.6, abs=0.1)


@pytest.mark.parametrize("p", [0.3, 1.0])
def test_dropped_edges_leave_the_readout_as_it_was(p: float, batch: Batch, vision: VisionBrain) -> None:
    model = ImageClassificationModel(vision).eval()
    read = pooled_nodes(model, batch)
    out = drop_edges(batch, p, torch.Generator().manual_seed(5), read=torch.cat(read))
    still = pooled_nodes(model, out)
    assert [len(nodes) for nodes in still] == [len(nodes) for nodes in read]


@pytest.mark.parametrize("p", [0.3, 0.7, 1.0])
def test_dropped_edges_are_as_if_the_first_sinks_alone_were_read(p: float, batch: Batch, vision: VisionBrain) -> None:
    dag = ImageClassificationModel(vision).eval().dag
    kept = torch.rand(batch.num_edges, generator=torch.Generator().manual_seed(5)) >= p
    read = sinks(batch.edge_index, batch.num_nodes)
    fields = (batch.edge_index[:, kept], batch.edge_type[kept], batch.node_type, batch.level)
    expected = states_of(dag, batch.x, *fields, edge_attr=batch.edge_attr[kept])[read]
    out = drop_edges(batch, p, torch.Generator().manual_seed(5))
    fields = (out.edge_index, out.edge_type, out.node_type, out.level)
    came = states_of(dag, out.x, *fields, edge_attr=out.edge_attr)[sinks(out.edge_index, out.num_nodes)]
    assert float(expected.detach().std()) > 0.1
    torch.testing.assert_close(came, expected, rtol=0, atol=1e-5)


@both
@pytest.mark.parametrize("p", [-0.1, 1.5, float("nan")])
def test_refuses_what_is_no_probability(kind: str, p: float, batch: Batch, vision: VisionBrain) -> None:
    with pytest.raises(ValueError, match=r"^p: expected a probability in \[0, 1\], got "):
        drop(kind, batch, p, vision)


# The benchmark


# Digits of little contrast are dark, as they are meant to be.
@pytest.mark.filterwarnings("ignore::grapheme_pyg.errors.ImageWarning")
def test_robustness_measures_and_draws(tmp_path: Path, images: Tensor) -> None:
    small = ImageClassificationModel(VisionBrain(rounds=[1, 1, 1]), hidden_channels=[4, 4, 4])
    small.save_pretrained(tmp_path)
    contestants = [robustness.load_ours("ours", tmp_path)]
    save_file(ExampleCNN().state_dict(), tmp_path / "model.safetensors")
    contestants.append(robustness.load_cnn("a CNN", tmp_path))
    labels = contestants[0].classify(images)
    clean, *rows = robustness.measure(contestants, images, labels, seed=0)
    assert clean["accuracy"]["ours"] == [1]
    assert [row["name"] for row in rows] == [*BY_NAME, robustness.NODES, robustness.EDGES]
    for row in rows:
        assert len(row["severities"]) == 5
        with_cnn = row["name"] in BY_NAME  # edges and nodes have no counterpart in a CNN
        assert row["accuracy"].keys() == ({"ours", "a CNN"} if with_cnn else {"ours"})
        assert all(len(values) == 5 for values in row["accuracy"].values())
    kinds = {one.name: {"kind": one.kind} for one in contestants}
    results = {"dataset": "mnist", "images": 3, "seed": 0, "models": kinds, "corruptions": [clean, *rows]}
    picture = BytesIO()
    robustness.draw(results, images[0], small.vision).savefig(picture)
    assert picture.tell() > 50_000


def test_graphs_are_corrupted_by_the_seed_whatever_the_batch(images: Tensor) -> None:
    model = ImageClassificationModel(VisionBrain(), hidden_channels=[4, 4, 4]).eval()
    classes = [robustness.classify_corrupted(robustness.EDGES, model, images, 0.5, seed) for seed in (0, 0)]
    assert torch.equal(*classes)
    assert torch.equal(
        robustness.classify_corrupted(robustness.NODES, model, images, 0, 0),
        model.predict(images).similarities.argmax(1),
    )


def test_generator_is_optional(batch: Batch, vision: VisionBrain) -> None:
    generator: Generator | None = None
    assert drop_nodes(batch, 0.5, vision, generator).num_nodes < batch.num_nodes
    assert drop_edges(batch, 0.5).num_edges < batch.num_edges

"""What the benchmarks of modes rest on: graphs with less in them, other layers, digits in other sizes."""

import re

import pytest
import torch
from relations import VARIANTS, LessBrain, Variant, count
from sizes import in_size
from superpixel_layers import CHANNELS, build
from transfer import CHANGES, COMMON, PartBrain

from grapheme_pyg import VisionBrain
from grapheme_pyg.testing import check_batching, check_graph


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(256, (4, 7, 7), generator=generator, dtype=torch.uint8)
    return blocks.repeat_interleave(4, dim=1).repeat_interleave(4, dim=2)


def relations(vision: VisionBrain, images: torch.Tensor) -> set[str]:
    """Names of the relations that occur."""
    return {vision.metadata[1][kind][1] for kind in vision.batch(images).edge_type.tolist()}


@pytest.mark.parametrize("mode", list(VARIANTS))
def test_what_is_left_out_is_not_there(mode: str, images: torch.Tensor) -> None:
    whole = VisionBrain(mode)
    nodes, edges = whole.batch(images).num_nodes, whole.batch(images).num_edges
    for variant in VARIANTS[mode]:
        if variant.without is None:
            continue
        less = LessBrain(mode, variant.without)
        batch = less.batch(images)
        assert batch.num_nodes == nodes
        left_out = count(mode, variant, images) * len(images)
        assert batch.num_edges == edges - left_out
        assert left_out > 0, variant.words
        assert not any(
            re.search(variant.without, " ".join(less.metadata[1][kind])) for kind in batch.edge_type.unique().tolist()
        )
        for graph in batch.to_data_list():
            check_graph(graph, less.metadata)


def test_without_all_between_entities_only_selves_are_left(images: torch.Tensor) -> None:
    for mode, variants in VARIANTS.items():
        found = next(variant for variant in variants if variant.words == "all between entities")
        assert relations(LessBrain(mode, found.without), images) == {"self"}


def test_what_is_added_is_counted(images: torch.Tensor) -> None:
    contours = Variant("", only=" same_contour ", vision={"contours": True})
    assert count("grid", contours, images) > 0
    assert count("grid", Variant("", only=" same_contour "), images) == 0


@pytest.mark.parametrize(("mode", "options"), [(mode, options) for mode, _, options in CHANGES if "without" in options])
def test_one_half_of_a_hybrid(mode: str, options: dict[str, tuple[str, ...]], images: torch.Tensor) -> None:
    vision = PartBrain(mode, **options, **COMMON)
    batch = vision.batch(images)
    names = {vision.metadata[0][kind] for kind in batch.node_type.tolist()}
    assert names
    assert not any(name.startswith(options["without"]) for name in names)


@pytest.mark.parametrize("kind", list(CHANNELS))
def test_other_layers_take_our_graphs(kind: str, images: torch.Tensor) -> None:
    model = build(kind).eval()
    graphs = [model.vision(image) for image in images[:2, :14, :14]]
    check_batching(model, graphs)
    loss = model.train()(model.vision.batch(images[:2])).square().sum()
    loss.backward()
    assert all(weight.grad is not None for weight in model.dag.parameters())


def test_digits_in_other_sizes(images: torch.Tensor) -> None:
    assert torch.equal(in_size(images, 28), images)
    assert in_size(images, 14).shape == (4, 14, 14)
    flat = torch.full((1, 28, 28), 77, dtype=torch.uint8)
    assert (in_size(flat, 112) == 77).all()

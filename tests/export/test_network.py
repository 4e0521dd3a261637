"""Inputs hold what graphs do, and what is exported computes of them what the model does, in every mode."""

from typing import Any

import numpy as np
import pytest
import torch
from models import images_of_sizes, model_of
from torch_geometric.data import Data

from grapheme_pyg.export import InputFormat, graph_inputs
from grapheme_pyg.export.network import PlannedModel
from grapheme_pyg.testing import plain_operators
from grapheme_pyg.vision import ImageGraph

MODELS: dict[str, dict[str, Any]] = {
    "grid": {"vision": {}},
    "grid in colour": {"vision": {"in_channels": 3, "rounds": (1, 2)}},
    "grid with edge_attr": {"vision": {"edge_attr": True}, "readout": "sinks"},
    "grid with contours": {"vision": {"contours": True}},
    "layer norm": {"vision": {"extend": False}, "norm": "layer"},
    "no norm": {"vision": {"rounds": (3, 1)}, "norm": None, "readout": "sinks"},
    "resized": {"vision": {"resize": 20}},
    "blob": {"vision": {"mode": "blob"}},
    "superpixel": {"vision": {"mode": "superpixel", "in_channels": 3}},
    "hybrid": {"vision": {"mode": "hybrid", "detections": True}},
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "hybrid" else ()) for name in MODELS]
)
def test_logits_are_the_models(name: str) -> None:
    images = images_of_sizes(MODELS[name]["vision"].get("in_channels", 1))
    model = model_of(images[:3], **MODELS[name])
    input_format = InputFormat.of(model, 64)
    network = PlannedModel(model, input_format)
    for some in (images[:1], images[3:4], images[-1:], images):
        batch = model.vision.batch(some)
        arrays = graph_inputs(input_format, batch)
        assert list(arrays) == list(input_format.inputs)
        # As in a program, whose operators are PyTorch's own.
        with plain_operators():
            answers = network({key: torch.from_numpy(value) for key, value in arrays.items()})
        with torch.no_grad():
            torch.testing.assert_close(answers["logits"], model(batch), rtol=0, atol=1e-4)
            similarities = model.classifier.similarities(model.pool(batch))
        torch.testing.assert_close(answers["similarities"], similarities, rtol=0, atol=1e-5)
    # The comparison would not see much if all images were alike.
    assert float(answers["logits"].std(dim=0).min()) > 0.05


def test_tables_by_hand() -> None:
    model = model_of(images_of_sizes(1)[:2], vision={"rounds": (1, 2), "patch_size": 2, "margin": 0})
    input_format = InputFormat.of(model, 16)
    assert [(one.name, one.level) for one in input_format.generations] == [
        ("cell0_round0", 0),
        ("cell1_round0", 1),
        ("cell1_round1", 2),
    ]
    edge_types = model.vision.metadata[1]
    part = [("cell0_round0", f"{name}_part_of", "cell1_round0") for name in ("north_west", "south_east")]
    beside = [("cell1_round0", name, "cell1_round1") for name in ("self", "west_of")]
    types = [edge_types.index(triple) for triple in (*part, *beside)]
    # Nodes 1 and 3 are fine cells, 0 and 4 the first round of coarse ones, 2 the second round of 4 and the only sink.
    graph = Data(
        x=torch.arange(20.0).view(5, 4),
        node_type=torch.tensor([1, 0, 2, 0, 1]),
        level=torch.tensor([1, 0, 2, 0, 1]),
        edge_index=torch.tensor([[1, 3, 4, 0], [4, 4, 2, 2]]),
        edge_type=torch.tensor(types),
    )
    arrays = graph_inputs(input_format, graph)
    for number, nodes in enumerate([[1, 3], [0, 4]]):
        width = input_format.generations[number].num_features
        assert 0 < width <= 4
        assert np.array_equal(arrays[f"x_{number}"], graph.x[nodes, :width].numpy())
    assert "x_2" not in arrays
    parts, sides = (input_format.generations[i].sources[0].relations for i in (1, 2))
    expected = np.zeros((2, 9), dtype=np.int64)
    expected[1, parts.index("north_west_part_of")] = 1
    expected[1, parts.index("south_east_part_of")] = 2
    assert np.array_equal(arrays["rows_1_cell0_round0"], expected)
    expected = np.zeros((1, 9), dtype=np.int64)
    expected[0, sides.index("self")] = 2
    expected[0, sides.index("west_of")] = 1
    assert np.array_equal(arrays["rows_2_cell1_round0"], expected)
    # All fine cells are pooled; of coarse ones the second round, which comes after two rows of the first.
    assert (arrays["pooled_0"].tolist(), arrays["pooled_1"].tolist()) == ([[1, 2]], [[3]])


def test_segments_by_hand() -> None:
    model = model_of(images_of_sizes(1)[:2], vision={"contours": True})
    input_format = InputFormat.of(model, 16)
    edge_types = model.vision.metadata[1]
    names = model.vision.metadata[0]
    place = edge_types.index(("cell0_round0", "self", "cell0_round1"))
    types = torch.tensor([names.index("cell0_round0")] * 2 + [names.index("cell0_round1")])
    # Two edges of one type into node 2: one segment of two.
    graph = Data(
        x=torch.zeros(3, model.vision.num_features),
        node_type=types,
        level=torch.tensor([0, 0, 1]),
        edge_index=torch.tensor([[1, 0], [2, 2]]),
        edge_type=torch.tensor([place, place]),
    )
    arrays = graph_inputs(input_format, graph)
    number = [one.name for one in input_format.generations].index("cell0_round1")
    found = {name: arrays[f"{name}_{number}_cell0_round0"].tolist() for name in ("sources", "first", "segment")}
    assert found == {"sources": [1, 0], "first": [0], "segment": [0, 0]}
    assert arrays[f"rows_{number}_cell0_round0"].sum() == 1


class TestWrongGraphs:
    @pytest.fixture
    def small(self) -> tuple[InputFormat, ImageGraph]:
        model = model_of(images_of_sizes(1)[:2], vision={"rounds": (1, 1)})
        return InputFormat.of(model, 16), model.vision(images_of_sizes(1)[5])

    def test_of_too_large_images(self) -> None:
        model = model_of(images_of_sizes(1)[:2], vision={"rounds": (1, 1)})
        with pytest.raises(ValueError, match="at most 32 pixels a side, got level 3 and node type 1 at node"):
            graph_inputs(InputFormat.of(model, 32), model.vision(images_of_sizes(1)[2]))

    def test_without_a_field(self, small: tuple[InputFormat, ImageGraph]) -> None:
        graph = small[1].clone()
        del graph.edge_type
        with pytest.raises(ValueError, match="got none named 'edge_type'"):
            graph_inputs(small[0], graph)

    def test_with_an_unknown_edge(self, small: tuple[InputFormat, ImageGraph]) -> None:
        graph = small[1].clone()
        graph.edge_type[0] = 99
        with pytest.raises(ValueError, match=r"edge_type: expected values in \[0, 18\), got 99 at edge 0"):
            graph_inputs(small[0], graph)

    def test_with_an_edge_twice(self, small: tuple[InputFormat, ImageGraph]) -> None:
        graph = small[1].clone()
        graph.edge_index = torch.cat([graph.edge_index, graph.edge_index[:, :1]], dim=1)
        graph.edge_type = torch.cat([graph.edge_type, graph.edge_type[:1]])
        with pytest.raises(
            ValueError, match="edge_index: expected at most one edge of each type into a node, got several"
        ):
            graph_inputs(small[0], graph)


@pytest.mark.parametrize("max_size", [0, -1, 2.5, True, None])
def test_wrong_sizes(max_size: Any) -> None:
    model = model_of(images_of_sizes(1)[:2], vision={})
    with pytest.raises(ValueError, match="max_size: expected a positive integer, got"):
        InputFormat.of(model, max_size)

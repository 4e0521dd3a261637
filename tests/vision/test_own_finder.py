"""A finder of one's own is a mode like the others: trained, saved, loaded, explained, exported and drawn."""

from collections.abc import Iterator
from dataclasses import dataclass, field, make_dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from test_brain import assert_batch_is_made_of_singles, assert_same_batch
from test_modes import images_of_sizes
from torch import Tensor

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, explain, fit
from grapheme_pyg.datasets import load_mnist5k
from grapheme_pyg.export import InputFormat, export_program, graph_inputs
from grapheme_pyg.testing import check_graph
from grapheme_pyg.vision import Finder, register_finder
from grapheme_pyg.vision.finder import FINDERS
from grapheme_pyg.vision.grid import GridFinder
from grapheme_pyg.vision.hierarchy import EntityType, Hierarchy, Relations, RelationType, Schema
from grapheme_pyg.visualization import draw_dag, draw_weights

# Names of entity types by level; higher levels have the last one.
NAMES = ((0, "row"), (1, "band"))


@dataclass(frozen=True)
class RowFinder(Finder):
    """Finds rows with ink, bands of two neighbouring ones, and bands of bands, up to one that is the page.

    Args:
        in_channels: Of the image, 1 or 3.
        rounds: How many nodes each entity has: one number, where finders of the library have several.
        thresholds: Rows with ink have a pixel at least as light: likewise.
        parts: Into how many parts rows are cut, whose means are their features.
    """

    in_channels: int = 1
    rounds: int = 2
    thresholds: int = 32
    parts: int = 4

    def schema(self) -> Schema:
        types = [EntityType(f"cell_{name}", i, self.parts * self.in_channels, self.rounds) for i, name in NAMES]
        lateral = [RelationType(i, name, i) for i, _ in NAMES for name in ("self", "above", "below")]
        part_of = [RelationType(i, f"{name}_part_of", 1) for i, _ in NAMES for name in ("upper", "lower")]
        return Schema(tuple(types), tuple(lateral), tuple(part_of))

    def count_levels(self, height: int, width: int) -> int:
        return len(heights(height))

    def find(self, pixels: Tensor) -> tuple[Hierarchy, Tensor]:
        present, features = self._rows(pixels, pixels)
        return self._hierarchy(present, *pixels.shape[-2:]), features[present].float()

    def _rows(self, pixels: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Which entities images have, ``[B, num_entities + 1]``, the last if none; and what each measures."""
        present = [(pixels >= self.thresholds).flatten(3).any(3).any(1)]
        rows = F.adaptive_avg_pool2d(values.double() / 255, (values.shape[2], self.parts))
        features = [rows.transpose(1, 2).flatten(2)]
        for count, _ in pairwise(heights(values.shape[2])):
            present.append(F.pad(present[-1], (0, count % 2)).unflatten(1, (-1, 2)).any(2))
            features.append(F.pad(features[-1], (0, 0, 0, count % 2)).unflatten(1, (-1, 2)).mean(2))
        return torch.cat([*present, ~present[-1]], dim=1), torch.cat([*features, features[-1]], dim=1)

    def _hierarchy(self, present: Tensor, height: int, width: int) -> Hierarchy:
        counts = heights(height)
        levels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        ends = [(torch.arange(n + 1) << i).clamp(max=height) for i, n in enumerate(counts)]
        middles = [(of[1:] + of[:-1]) / 2 for of in ends]
        image, entity = present.nonzero(as_tuple=True)
        numbers = torch.where(present, present.flatten().cumsum(0).view_as(present) - 1, -1)[:, :-1].split(counts, 1)
        lateral, part_of = [], []
        for i, rows in enumerate(numbers):
            lateral += [(rows[:, :-1], rows[:, 1:], 3 * min(i, 1) + 1), (rows[:, 1:], rows[:, :-1], 3 * min(i, 1) + 2)]
        for i, (fine, coarse) in enumerate(pairwise(numbers)):
            upper, lower = fine[:, ::2], fine[:, 1::2]
            part_of += [(upper, coarse, 2 * min(i, 1)), (lower, coarse[:, : lower.shape[1]], 2 * min(i, 1) + 1)]
        middle = torch.cat([*middles, torch.tensor([height / 2])])[entity].double()
        level = F.pad(levels, (0, 1), value=len(counts) - 1)[entity]
        return Hierarchy(
            num_images=len(present),
            image=image,
            level=level,
            type=level.clamp(max=1),
            centre=torch.stack([torch.full_like(middle, width / 2), middle], dim=1),
            lateral=related(lateral),
            part_of=related(part_of),
            finest_of_pixel=numbers[0].repeat_interleave(width, dim=1),
            size=(height, width),
            alone=entity == len(levels),
        )


def heights(height: int) -> list[int]:
    """Rows, and bands of each level: at least one level of them, the last of one band."""
    counts = [height, -(-height // 2)]
    while counts[-1] > 1:
        counts.append(-(-counts[-1] // 2))
    return counts


def related(pairs: list[tuple[Tensor, Tensor, int]]) -> Relations:
    """Of those that are there."""
    found = [(a[(a >= 0) & (b >= 0)], b[(a >= 0) & (b >= 0)], kind) for a, b, kind in pairs]
    columns = [(a, b, torch.full_like(a, kind)) for a, b, kind in found]
    return Relations(*(torch.cat(column) for column in zip(*columns, strict=True)))


@dataclass(frozen=True)
class FullRowFinder(RowFinder):
    """The same, and all that a finder can say besides."""

    single_neighbours: ClassVar[bool] = True

    def schema(self) -> Schema:
        words = super().schema()
        return replace(words, entity_types=tuple(replace(kind, differentiable=True) for kind in words.entity_types))

    def lattice(self, height: int, width: int) -> Hierarchy:
        present = torch.ones(1, sum(heights(height)) + 1, dtype=torch.bool)
        present[:, -1] = False
        return self._hierarchy(present, height, width)

    def measure(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        present, features = self._rows(pixels, pixels)
        return present, features.float()

    def differentiable_features(self, pixels: Tensor) -> Tensor:
        present, features = self._rows(pixels.detach(), pixels)
        return features[present]


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """Two more modes, and afterwards only the library's."""
    before = dict(FINDERS)
    register_finder("rows", RowFinder)
    register_finder("full_rows", FullRowFinder)
    yield
    FINDERS.clear()
    FINDERS.update(before)


modes = pytest.mark.parametrize("mode", ["rows", "full_rows"])


def untrained(mode: str, **options: Any) -> ImageClassificationModel:
    torch.manual_seed(0)
    return ImageClassificationModel(VisionBrain(mode, **options), 10, hidden_channels=(8, 12)).eval()


@modes
@pytest.mark.parametrize("options", [{}, {"contours": True, "detections": True}, {"resize": 9, "in_channels": 3}])
def test_graphs(mode: str, options: dict[str, Any]) -> None:
    brain = VisionBrain(mode, seg=True, edge_attr=True, **options)
    images = images_of_sizes(brain.in_channels)
    batch = assert_batch_is_made_of_singles(brain, images)
    for graph in batch.to_data_list():
        check_graph(graph, brain.metadata)
    other = VisionBrain("rows" if mode == "full_rows" else "full_rows", seg=True, edge_attr=True, **options)
    assert other.metadata == brain.metadata
    assert_same_batch(other.batch(images), batch)


def test_a_graph_by_hand() -> None:
    image = torch.tensor([[0, 0], [255, 0], [51, 51]], dtype=torch.uint8)
    brain = VisionBrain("full_rows", rounds=1, parts=1, relative=False)
    graph = brain(image)
    assert [brain.metadata[0][i] for i in graph.node_type] == ["cell_row_round0"] * 2 + ["cell_band_round0"] * 3
    assert graph.x.flatten().tolist() == pytest.approx([0.5, 0.2, 0.25, 0.1, 0.175])
    assert graph.pos[:, 1].tolist() == pytest.approx([1.5 / 3, 2.5 / 3, 1 / 3, 2.5 / 3, 1.5 / 3])
    assert graph.edge_index.tolist() == [[0, 1, 2, 3], [2, 3, 4, 4]]
    assert [brain.metadata[1][i][1] for i in graph.edge_type] == [f"{name}_part_of" for name in ("lower", "upper")] + [
        "upper_part_of",
        "lower_part_of",
    ]


def test_what_follows_from_what_a_finder_says() -> None:
    brains = {mode: VisionBrain(mode) for mode in ("rows", "full_rows")}
    assert {mode: brain.edge_attr for mode, brain in brains.items()} == {"rows": True, "full_rows": False}
    # 28 rows make bands of 14, 7, 4, 2 and 1: five levels of two rounds above that of the rows.
    assert [len(brain.generations(28)) for brain in brains.values()] == [12, 12]
    assert VisionBrain("rows") != brains["full_rows"]


@modes
def test_trained_saved_and_loaded(mode: str, tmp_path: Path) -> None:
    images, labels = (part[:60] for part in load_mnist5k().train)
    model = untrained(mode, rounds=3, thresholds=64)
    before = {name: value.clone() for name, value in model.named_parameters()}
    settings = TrainingSettings(epochs=1, batch_size=20)
    fit(model, images, labels, settings=settings, verbose=False)
    assert all(not torch.equal(value, before[name]) for name, value in model.dag.named_parameters() if name in before)
    model.save_pretrained(tmp_path)
    loaded = ImageClassificationModel.from_pretrained(tmp_path)
    assert loaded.vision == model.vision
    assert loaded.vision.config["rounds"] == 3
    assert torch.equal(loaded.predict(images).similarities, model.predict(images).similarities)


@modes
@pytest.mark.parametrize("options", [{}, {"detections": True}, {"in_channels": 3, "edge_attr": True}])
def test_explained(mode: str, options: dict[str, Any]) -> None:
    model, image = untrained(mode, **options), load_mnist5k().test.images[0]
    explanation = explain(model, image)
    assert explanation.pixels.abs().max() > 0
    assert float(explanation.pixels.sum()) == pytest.approx(float(explanation.nodes.sum()), rel=1e-4, abs=1e-5)
    if mode == "full_rows" and not options:
        # By gradients, the ground gets nothing; else what a row got is on all of its pixels.
        assert not explanation.pixels[model.vision.prepared(image[None, None])[0, 0] == 0].any()
    elif not options:
        assert (explanation.pixels == explanation.pixels[:, :1]).all()


@pytest.mark.slow
@modes
def test_exported(mode: str, tmp_path: Path) -> None:
    model, images = untrained(mode, rounds=1), [image[10:18, 10:18] for image in load_mnist5k().test.images[:5]]
    path = tmp_path / "model.pt2"
    input_format = export_program(model, path, max_size=8)
    assert input_format == InputFormat.of(model, 8)
    assert input_format.single == (mode == "full_rows")
    batch = model.vision.batch(images)
    arrays = {name: torch.from_numpy(array) for name, array in graph_inputs(input_format, batch).items()}
    answers = torch.export.load(path).module()(arrays)
    with torch.no_grad():
        torch.testing.assert_close(answers["logits"], model(batch), rtol=0, atol=1e-4)


@modes
def test_drawn(mode: str) -> None:
    model, image = untrained(mode), load_mnist5k().test.images[0]
    ax = Figure().subplots()
    draw_dag(model.vision(image), image, metadata=model.vision.metadata, ax=ax)
    assert ax.collections
    assert draw_weights(model) is not None


def test_options_that_files_cannot_hold_are_refused() -> None:
    @dataclass(frozen=True)
    class Placed(RowFinder):
        place: Path = Path()

    register_finder("placed", Placed)
    with pytest.raises(ValueError, match=r"vision: expected options of types that JSON has, got others: .*Path"):
        ImageClassificationModel(VisionBrain("placed"), hidden_channels=(4, 4))


def test_a_measure_without_gradients_is_told() -> None:
    class Forgetful(FullRowFinder):
        differentiable_features = Finder.differentiable_features
        measure = Finder.measure

    register_finder("forgetful", Forgetful)
    with pytest.raises(TypeError, match="Forgetful: expected a method measure for its lattice, got none"):
        VisionBrain("forgetful")(torch.eye(8))
    with pytest.raises(TypeError, match="Forgetful: expected a method differentiable_features for its types, got none"):
        Forgetful().differentiable_features(torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lateral": ()}, r"a lateral relation 'self' of every entity type, got \['cell_row', 'cell_band'\]"),
        ({"part_of": (RelationType(0, "part of", 1),)}, "names of a…z, digits and underscores, got 'part of'"),
        ({"entity_types": 2 * (EntityType("Row", 0, 1, 1),)}, "names of a…z, digits and underscores, got 'Row'"),
        ({"entity_types": 2 * (EntityType("row", 0, 1, 1),)}, "different names of entity types, got "),
    ],
)
def test_words_that_are_none(change: dict[str, Any], message: str) -> None:
    class Odd(RowFinder):
        def schema(self) -> Schema:
            return replace(super().schema(), **change)

    register_finder("odd", Odd)
    with pytest.raises(ValueError, match=f"schema: expected {message}"):
        VisionBrain("odd")


@pytest.mark.parametrize("name", ["grid", "hybrid", "rows"])
def test_names_that_are_taken(name: str) -> None:
    before = dict(FINDERS)
    with pytest.raises(ValueError, match=rf"name: expected a name other than those of \('grid', .*, got '{name}'"):
        register_finder(name, RowFinder)
    assert before == FINDERS


@pytest.mark.parametrize("name", ["", "Rows", "my rows", "rows\n", 3, None])
def test_names_that_are_none(name: Any) -> None:
    with pytest.raises(ValueError, match="name: expected letters a…z, digits and underscores, got "):
        register_finder(name, RowFinder)


def changed(*options: Any, frozen: bool = True, bases: tuple[type, ...] = (RowFinder,)) -> type:
    return make_dataclass("Changed", options, bases=bases, frozen=frozen)


class Bare:
    """No finder, as it only finds."""

    find = RowFinder.find


@pytest.mark.parametrize(
    ("finder", "message"),
    [
        (RowFinder(), "a frozen dataclass, got RowFinder"),
        (Bare, "a frozen dataclass, got <class"),
        (changed(("in_channels", int, 1), frozen=False, bases=(Bare,)), "a frozen dataclass, got <class"),
        (changed(("in_channels", int, 1), bases=(Bare,)), "the members of Finder, got Changed without 'single_neighb"),
        (changed(("in_channels", int, 1), bases=(Finder,)), "the members of Finder, got Changed without 'schema'"),
        (changed(bases=(Bare, GridFinder.__mro__[1])), "the members of Finder, got Changed without 'schema'"),
        (changed(("seg", int, 1)), r"options other than \('mode', .*, got 'seg'"),
        (
            changed(("in_channels", int), bases=(Named := type("Named", (Finder,), dict(vars(Bare), schema=1)),)),
            "a def",
        ),
        (changed(("size", int, 1), bases=(Named,)), r"a field in_channels, got \['size'\]"),
    ],
)
def test_classes_that_are_no_finders(finder: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"finder: expected {message}"):
        register_finder("other", finder)
    assert "other" not in FINDERS


def test_a_class_that_keeps_the_protocol_by_itself() -> None:
    names = [name for name in vars(Finder) if not name.startswith("_")]
    members = {name: getattr(FullRowFinder, name) for name in (*names, "_rows", "_hierarchy")}
    options = [(name, int, field(default=value)) for name, value in vars(RowFinder()).items()]
    alike = make_dataclass("Alike", options, namespace=members, frozen=True)
    register_finder("alike", alike)
    assert not issubclass(alike, RowFinder)

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, explain, fit
from grapheme_pyg.datasets import Split
from grapheme_pyg.errors import GraphemeError
from grapheme_pyg.testing import check_batching, check_graph, check_order_invariance


@pytest.fixture
def images(digits: tuple[Split, Split]) -> Tensor:
    return digits[0].images[:40]


def make(**kwargs: object) -> ImageClassificationModel:
    return ImageClassificationModel(VisionBrain(edge_attr=True), hidden_channels=(8, 12, 16), **kwargs)


@pytest.mark.parametrize("norm", ["batch", "layer", None])
def test_a_batch_gives_what_single_graphs_give(norm: str | None, images: Tensor) -> None:
    model = make(norm=norm).eval()
    mixed = [*images[:8], images[0, 3:9, 3:], torch.zeros(5, 5), images[1].repeat(3, 2)]
    graphs = [model.vision(image) for image in mixed]
    check_batching(model, graphs)
    check_order_invariance(model, graphs[0])
    for graph in graphs:
        check_graph(graph, model.vision.metadata)


def test_similarities_do_not_depend_on_the_batch(images: Tensor) -> None:
    model = make()
    whole, parts = model.predict(images), model.predict(images, batch_size=7)
    torch.testing.assert_close(whole.similarities, parts.similarities, rtol=0, atol=1e-5)
    assert whole.labels == parts.labels


def test_order_of_images_does_not_matter(images: Tensor) -> None:
    model, order = make().eval(), torch.randperm(len(images))
    torch.testing.assert_close(
        model(model.vision.batch(images[order])), model(model.vision.batch(images))[order], rtol=0, atol=1e-5
    )


def test_forward_graph_takes_the_fields(images: Tensor) -> None:
    model = make().eval()
    batch = model.vision.batch(images)
    fields = {name: batch[name] for name in ("edge_index", "edge_type", "node_type", "edge_attr")}
    # Without `level` it is computed: the longest path instead of the stage, with the same states.
    torch.testing.assert_close(
        model.forward_graph(batch.x, **fields, batch=batch.batch), model(batch), rtol=0, atol=1e-5
    )
    graph = model.vision(images[0])
    fields = {name: graph[name] for name in ("edge_index", "edge_type", "node_type", "edge_attr")}
    torch.testing.assert_close(model.forward_graph(graph.x, **fields), model(graph), rtol=0, atol=1e-6)


def test_predict(images: Tensor) -> None:
    model = make(classes=["ant", "bee", "cow"]).train()
    before = {name: value.clone() for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    labels, confidences, similarities, probabilities, familiarity, boxes, reasons = model.predict(list(images))
    assert similarities.shape == (40, 3)
    assert labels == [["ant", "bee", "cow"][i] for i in similarities.argmax(dim=1)]
    expected = model.classifier.log_temperature.exp() * similarities
    torch.testing.assert_close(probabilities, expected.softmax(dim=1))
    assert torch.equal(confidences, probabilities.amax(dim=1))
    assert familiarity is None
    assert boxes == reasons == [None] * 40
    assert model.training
    assert model.dag.training
    for name, value in before.items():
        assert torch.equal(model.state_dict()[name], value), name


def test_predict_refuses(images: Tensor) -> None:
    model = make()
    for nothing in ([], images[:0]):
        with pytest.raises(ValueError, match="images: expected at least one image, got none"):
            model.predict(nothing)
    with pytest.raises(
        ValueError, match="images: expected a tensor, a NumPy array or a sequence of images, got generator"
    ):
        model.predict(image for image in images)
    with pytest.raises(ValueError, match="batch_size: expected a positive integer, got 0"):
        model.predict(images, batch_size=0)


def test_edges_out_of_the_graph_are_refused(images: Tensor) -> None:
    graph = make().vision(images[0])
    with pytest.raises(ValueError, match=r"edge_index: expected values in \[0, \d+\), got 1000000 at edge 0"):
        make().forward_graph(graph.x, graph.edge_index + 1_000_000, graph.edge_type, graph.node_type)


def test_a_graph_without_levels(images: Tensor) -> None:
    model = make().eval()
    graph = model.vision(images[0])
    expected = model(graph)
    del graph.level
    torch.testing.assert_close(model(graph), expected, rtol=0, atol=1e-6)


class TestSavedModels:
    @pytest.mark.slow
    def test_predict_the_same_in_a_new_process(self, images: Tensor, tmp_path: Path) -> None:
        model = make(classes=[f"digit {i}" for i in range(10)])
        model(model.vision.batch(images))  # moves the running statistics off their initial values
        model.save_pretrained(tmp_path / "model")
        torch.save(images, tmp_path / "images.pt")
        script = (
            "import sys, torch\n"
            "from grapheme_pyg import ImageClassificationModel\n"
            "torch.set_num_threads(int(sys.argv[2]))\n"
            "model = ImageClassificationModel.from_pretrained(sys.argv[1] + '/model')\n"
            "prediction = model.predict(torch.load(sys.argv[1] + '/images.pt', weights_only=True))\n"
            "torch.save(list(prediction), sys.argv[1] + '/prediction.pt')\n"
        )
        threads = str(torch.get_num_threads())
        subprocess.run([sys.executable, "-c", script, str(tmp_path), threads], check=True)
        labels, confidences, similarities, *_ = torch.load(tmp_path / "prediction.pt", weights_only=True)
        expected = model.predict(images)
        assert labels == expected.labels
        assert torch.equal(confidences, expected.confidences)
        assert torch.equal(similarities, expected.similarities)

    def test_are_two_files_without_pickle(self, tmp_path: Path) -> None:
        model = make()
        model.save_pretrained(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
        config = json.loads((tmp_path / "config.json").read_text())
        assert config["vision"] == {"features": 2} | model.vision.config
        assert config["relations"]["cell1_round2__cell2_round0"][0] == "north_west_part_of"

    def test_match_weights_by_the_names_of_relations(self, images: Tensor, tmp_path: Path) -> None:
        # As if a later version numbered the relations of one pair in another order.
        model = make().eval()
        model.save_pretrained(tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        pair = "cell0_round0__cell0_round1"
        config["relations"][pair].reverse()
        del config["settings_sha256"]
        (tmp_path / "config.json").write_text(json.dumps(config))
        loaded = ImageClassificationModel.from_pretrained(tmp_path)
        assert torch.equal(loaded.dag.weight[pair], model.dag.weight[pair].flip(0))

    def test_of_other_formats_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "model.safetensors").write_bytes(b"")
        (tmp_path / "config.json").write_text(json.dumps({"format": "something else"}))
        with pytest.raises(
            ValueError, match=r"config\.json: format: expected 'grapheme_pyg\..*', got 'something else'"
        ):
            ImageClassificationModel.from_pretrained(tmp_path)
        with pytest.raises(FileNotFoundError, match="missing"):
            ImageClassificationModel.from_pretrained(tmp_path / "missing")

    @pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
    def test_with_a_flipped_bit_are_refused(self, place: float, tmp_path: Path) -> None:
        make().save_pretrained(tmp_path)
        weights = bytearray((tmp_path / "model.safetensors").read_bytes())
        weights[int(place * len(weights))] ^= 4
        (tmp_path / "model.safetensors").write_bytes(weights)
        with pytest.raises(ValueError, match=r"model\.safetensors: expected SHA-256"):
            ImageClassificationModel.from_pretrained(tmp_path)

    def test_survive_pickle_for_worker_processes(self, images: Tensor) -> None:
        model = make().eval()
        copy = pickle.loads(pickle.dumps(model))
        assert torch.equal(copy.predict(images).similarities, model.predict(images).similarities)


class TestWeightsPersist:
    """What the store is for: weights outlive a graph and serve every other."""

    def test_only_types_that_occur_learn(self) -> None:
        # One bright pixel row: cells have neighbours to the east and west alone.
        image = torch.zeros(28, 28)
        image[14, 4:24:2] = 1
        model = ImageClassificationModel(VisionBrain(margin=0, relative=False), norm=None)
        graph = model.vision(image)
        model(graph)[0, 0].backward()
        present = set(graph.edge_type.tolist())
        for number, (source, relation, target) in enumerate(model.dag.vocabulary.edge_types):
            pair = f"{source}__{target}"
            grad = model.dag.weight[pair].grad
            row = model.dag.vocabulary.relations[pair].index(relation)
            learns = grad is not None and bool(grad[row].abs().sum() > 0)
            if number not in present:
                assert not learns, (source, relation, target)
        lateral = model.dag.weight["cell0_round0__cell0_round1"].grad.abs().sum((1, 2)) > 0
        names = model.dag.vocabulary.relations["cell0_round0__cell0_round1"]
        assert {name for name, learns in zip(names, lateral, strict=True) if learns} == {"west_of", "self", "east_of"}

    def test_a_step_on_one_topology_changes_what_another_computes(self, images: Tensor) -> None:
        model = make(norm="layer")
        learned, other = model.vision(images[0]), model.vision(images[1])
        assert learned.num_nodes != other.num_nodes
        before = model.embed(other)
        optimizer = torch.optim.SGD(model.dag.weight.parameters(), lr=0.1)
        model(learned)[0, 3].backward()
        optimizer.step()
        assert (model.embed(other) - before).abs().max() > 1e-3

    def test_size_does_not_depend_on_the_images(self, images: Tensor) -> None:
        model = make()
        shapes = {name: value.shape for name, value in model.named_parameters()}
        for image in (images[0], torch.rand(100, 60), torch.zeros(3, 3)):
            model(model.vision(image)).sum().backward()
        assert {name: value.shape for name, value in model.named_parameters()} == shapes

    def test_accumulated_gradients_are_those_of_one_batch(self, images: Tensor) -> None:
        model = make().double().eval()
        labels = torch.arange(40) % 10

        def gradients(sizes: list[int]) -> list[Tensor]:
            model.zero_grad()
            for part, classes in zip(images.split(sizes), labels.split(sizes), strict=True):
                batch = model.vision.batch(part).apply(lambda t: t.double() if t.is_floating_point() else t)
                loss = torch.nn.functional.cross_entropy(model(batch), classes)
                (loss * len(part) / len(images)).backward()
            return [p.grad.clone() for p in model.parameters() if p.grad is not None]

        for one, many in zip(gradients([40]), gradients([7, 13, 20]), strict=True):
            torch.testing.assert_close(one, many, rtol=0, atol=1e-12)


def test_one_set_of_weights_serves_every_size() -> None:
    model = make().eval()
    for size in ((1, 1), (2, 9), (28, 28), (65, 130)):
        assert model(model.vision(torch.rand(size))).isfinite().all()


def test_widths_for_each_level() -> None:
    for widths in ((1, 2), (1, 0, 2), 8):
        with pytest.raises(ValueError, match=r"hidden_channels: expected (3|a) positive integer"):
            ImageClassificationModel(VisionBrain(), hidden_channels=widths)


def test_batches_of_pyg(images: Tensor) -> None:
    model = make().eval()
    graphs = [model.vision(image) for image in images]
    assert torch.equal(model(Batch.from_data_list(graphs)), model(model.vision.batch(images)))


OTHERS = ("blob", "superpixel", "hybrid")
MODES = pytest.mark.parametrize("mode", ["grid", "blob", "superpixel", "hybrid"])


@MODES
def test_every_mode_gives_graphs_that_the_model_treats_alike(mode: str, images: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    vision = VisionBrain(mode, contours=True, detections=True)
    model = ImageClassificationModel(vision, dropout=0).eval()
    graphs = [vision(image) for image in [*images[:3], images[0, :9, 3:], torch.zeros(5, 5)]]
    check_batching(model, graphs)
    check_order_invariance(model, graphs[0])
    model.save_pretrained(tmp_path)
    again = ImageClassificationModel.from_pretrained(tmp_path)
    assert torch.equal(again.predict(images[:8]).similarities, model.predict(images[:8]).similarities)


@pytest.mark.parametrize("ask", ["predict", "embed_images", "explain"])
def test_answers_that_are_not_finite_are_none(ask: str, images: Tensor) -> None:
    model = make()
    with torch.no_grad():
        model.classifier.project.weight.fill_(3e38)
    asked = (lambda some: explain(model, some[0])) if ask == "explain" else getattr(model, ask)
    with pytest.raises(GraphemeError, match=r"^model: expected finite \w+, got NaN or infinity"):
        asked(images[:2])


@pytest.mark.parametrize("log_temperature", [-1e30, 90.0])
def test_confidences_are_numbers_whatever_the_temperature(log_temperature: float, images: Tensor) -> None:
    model = make()
    with torch.no_grad():
        model.classifier.log_temperature.fill_(log_temperature)
    assert model.predict(images).probabilities.sum(dim=1).allclose(torch.ones(len(images)))


@pytest.mark.parametrize("mode", ["grid", *(pytest.param(mode, marks=pytest.mark.slow) for mode in OTHERS)])
def test_every_mode_learns(mode: str, digits: tuple[Split, Split]) -> None:
    torch.manual_seed(0)
    images, labels = digits[0].images[:100], digits[0].labels[:100]
    model = ImageClassificationModel(VisionBrain(mode))
    settings = TrainingSettings(epochs=6, batch_size=20, augment=False)
    fit(model, images, labels, settings=settings, verbose=False)
    right = model.predict(images).probabilities.argmax(dim=1) == labels
    assert right.float().mean() > 0.8


def test_widths_for_colour() -> None:
    grey, colour = (ImageClassificationModel(VisionBrain(in_channels=channels)) for channels in (1, 3))
    assert grey.config["hidden_channels"] == [32, 64, 96]
    assert colour.config["hidden_channels"] == [48, 96, 192]
    assert (grey.dag.residual, colour.dag.residual) == (False, True)
    assert [list(model.vision.finder.rounds) for model in (grey, colour)] == [[2, 3, 2], [4, 4, 3]]


def test_weights_of_one_mode_go_into_another_by_name() -> None:
    grid, hybrid = (ImageClassificationModel(VisionBrain(mode, edge_attr=True)) for mode in ("grid", "hybrid"))
    before = {name: value.clone() for name, value in hybrid.dag.state_dict().items() if isinstance(value, Tensor)}
    missing = hybrid.dag.load_state_dict(grid.dag.state_dict(), strict=False)
    after = hybrid.dag.state_dict()
    assert not missing.unexpected_keys
    for name, value in grid.dag.state_dict().items():
        if isinstance(value, Tensor):
            assert torch.equal(after[name], value), name
    # What the grid does not have stays as it was.
    kept = [name for name in before if "light" in name]
    assert kept
    assert all(torch.equal(after[name], before[name]) for name in kept)

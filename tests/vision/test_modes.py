"""What holds in every mode; `test_brain.py` goes deeper, in the default one."""

import copy
import json
import pickle
import sys

import pytest
import torch
from PIL import Image
from test_brain import (
    assert_acyclic,
    assert_batch_is_made_of_singles,
    assert_same_batch,
    assert_same_fields,
    sparse_image,
)
from torch_geometric.loader import DataLoader

from grapheme_pyg.testing import check_graph
from grapheme_pyg.vision import ImageGraph, VisionBrain
from grapheme_pyg.vision.assemble import assemble
from grapheme_pyg.vision.pixels import resized
from grapheme_pyg.vision.unroll import unroll

# Square, narrow, of one row and of one pixel; none is large, for there are many modes and options.
SIZES = [(14, 14), (1, 1), (17, 10), (8, 8), (1, 30), (7, 5)]
MODES = ("grid", "blob", "superpixel", "hybrid")
OPTIONS = {
    "grid": {"patch_size": 3, "threshold": 9, "margin": 2, "rounds": [1, 2], "extend": False},
    "blob": {"thresholds": [50, 200], "min_area": 1, "max_blobs": 5, "blob_rounds": 3, "stroke_rounds": 2},
    "superpixel": {"num_regions": 9, "compactness": 0.5, "rounds": [1, 2, 1]},
    "hybrid": {"patch_size": 4, "rounds": [1, 1], "thresholds": [99], "blob_rounds": 1},
}
modes = pytest.mark.parametrize("mode", MODES)
EXTRAS = {mode: {"contours": True, "detections": True, "resize": 12} for mode in MODES}
# Each mode as it is, and the two of a single kind of nodes with all that can be added; the rest is slow.
both = pytest.mark.parametrize(
    ("mode", "options"),
    [
        pytest.param(mode, options, id=f"{name}-{mode}", marks=() if everyday else pytest.mark.slow)
        for mode in MODES
        for name, options, everyday in (
            ("defaults", {}, True),
            ("options", OPTIONS, False),
            ("extras", EXTRAS, mode in ("grid", "blob")),
        )
    ],
)


def brain_of(mode, options=(), **arguments):
    return VisionBrain(mode, **arguments, **(options[mode] if options else {}))


def images_of_sizes(channels=1):
    """Blank, sparse and noisy images of many sizes, and one with a ramp."""
    images = [sparse_image(size, seed, channels, density=0.2 * (seed % 5)) for seed, size in enumerate(SIZES, 1)]
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 16, 16).repeat(channels, 1, 1)
    blank = torch.zeros(channels, 14, 14, dtype=torch.uint8)
    return [*images, blank, torch.full((channels, 13, 9), 255, dtype=torch.uint8), ramp]


@both
@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_made_of_single_graphs(mode, options, channels):
    brain = brain_of(mode, options, in_channels=channels, edge_attr=True, seg=True)
    images = images_of_sizes(channels)
    batch = assert_batch_is_made_of_singles(brain, images, torch.arange(len(images)))
    assert_batch_is_made_of_singles(brain, torch.stack([sparse_image((12, 9), i, channels) for i in range(4)]))
    assert batch.num_graphs == len(images)


@both
def test_graphs_are_valid_typed_sorted_and_acyclic(mode, options):
    brain = brain_of(mode, options, edge_attr=True, seg=True)
    for image in images_of_sizes():
        graph = brain(image)
        assert isinstance(graph, ImageGraph)
        check_graph(graph, brain.metadata)
        assert_acyclic(graph)
        assert graph.num_nodes >= 1
        assert bool(graph.x.isfinite().all())
        assert graph.x.shape == (graph.num_nodes, brain.num_features)
        assert bool(((graph.pos > 0) & (graph.pos < 1)).all())
        assert graph.level.tolist() == sorted(graph.level.tolist())
        source, target = graph.edge_index.tolist()
        edges = list(zip(target, graph.edge_type.tolist(), source, strict=True))
        assert edges == sorted(set(edges))


@modes
def test_what_a_type_does_not_use_is_zero(mode):
    brain = brain_of(mode)
    batch = brain.batch(images_of_sizes())
    for node_type, width in enumerate(brain.node_features):
        assert not batch.x[batch.node_type == node_type, width:].any()


@both
def test_seg_leads_each_pixel_to_a_node_of_the_first_round(mode, options):
    brain = brain_of(mode, options, seg=True)
    for image in images_of_sizes():
        graph = brain(image)
        assert graph.seg.shape == (image[0].numel(),)
        assert int(graph.seg.min()) >= -1
        assert int(graph.seg.max()) < graph.num_nodes
        found = graph.seg[graph.seg >= 0]
        assert all(brain.node_rounds[kind] == 0 for kind in graph.node_type[found].tolist())


@both
def test_the_same_image_gives_the_same_graph(mode, options):
    images = images_of_sizes()
    brain = brain_of(mode, options)
    expected = brain.batch(images)
    assert_same_batch(brain.batch(images), expected)
    assert_same_batch(brain_of(mode, options).batch([image.float() / 255 for image in images]), expected)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).tolist()
    permuted = brain.batch([images[i] for i in order]).to_data_list()
    for graph, i in zip(permuted, order, strict=True):
        assert_same_fields(graph, expected[i])


@both
def test_config_and_copies_make_the_same_brain(mode, options):
    brain = brain_of(mode, options, in_channels=3, seg=True)
    images = images_of_sizes(3)[::3]
    expected = brain.batch(images)
    for again in (
        VisionBrain(**json.loads(json.dumps(brain.config))),
        copy.deepcopy(brain),
        pickle.loads(pickle.dumps(brain)),
    ):
        assert again.config == brain.config
        assert again.metadata == brain.metadata
        assert repr(again) == repr(brain)
        assert_same_batch(again.batch(images), expected)


@modes
def test_the_vocabulary_does_not_depend_on_images(mode):
    brain = brain_of(mode)
    before = copy.deepcopy(brain.metadata)
    brain.batch(images_of_sizes())
    assert brain.metadata == before == brain_of(mode).metadata
    assert len(set(before[1])) == len(before[1])


@modes
def test_pygs_data_loader_makes_the_same_batches(mode):
    brain, images = brain_of(mode), images_of_sizes()
    graphs = [brain(image) for image in images]
    for i, batch in enumerate(DataLoader(graphs, batch_size=5)):
        assert_same_batch(batch, brain.batch(images[5 * i : 5 * i + 5]))


@modes
def test_arguments_are_left_alone(mode):
    images = [sparse_image((12, 10), i) for i in range(3)]
    before = copy.deepcopy(images)
    brain = brain_of(mode)
    expected = brain.batch(images)
    for _, value in brain.batch(images):
        value.fill_(9)
    assert all(torch.equal(image, old) for image, old in zip(images, before, strict=True))
    assert_same_batch(brain.batch(images), expected)


@modes
def test_grey_images_are_repeated_and_colours_become_luma(mode):
    grey = sparse_image((14, 11), 3)[0]
    brain = brain_of(mode, in_channels=3)
    assert torch.equal(brain(grey).x, brain(grey.repeat(3, 1, 1)).x)
    colour = Image.fromarray(sparse_image((14, 11), 4, 3).movedim(0, -1).numpy())
    assert torch.equal(brain_of(mode)(colour).x, brain_of(mode)(colour.convert("L")).x)


@pytest.mark.parametrize(
    ("mode", "arguments", "message"),
    [
        *(
            ("blob", {"thresholds": it}, "thresholds: expected rising integers in 0…254, got ")
            for it in ((), (9, 9), (9, 8), (255,), (1.0,), 3)
        ),
        *(
            ("blob", {name: it}, f"{name}: expected a positive integer, got ")
            for name in ("min_area", "max_blobs", "blob_rounds")
            for it in (0, 1.5, True)
        ),
        ("blob", {"stroke_rounds": -1}, "stroke_rounds: expected a non-negative integer, got -1"),
        *(
            ("superpixel", {"num_regions": it}, "num_regions: expected an integer in 1…4096, got ")
            for it in (0, 2.0, 5000)
        ),
        *(("superpixel", {"compactness": it}, "compactness: expected a positive number, got ") for it in (0, -1, "1")),
        ("superpixel", {"rounds": (2,)}, "rounds: expected at least two positive integers, got "),
        ("hybrid", {"blob_rounds": 0}, "blob_rounds: expected a positive integer, got 0"),
        ("hybrid", {"patch_size": 0}, "patch_size: expected a positive integer, got 0"),
        ("blob", {"patch_size": 2}, "patch_size: expected an option of mode 'blob', one of "),
    ],
)
def test_options_are_refused(mode, arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        VisionBrain(mode, **arguments)


@pytest.mark.parametrize("options", [{}, OPTIONS["grid"]], ids=["defaults", "options"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_subgraph_of_the_lattice_is_what_the_finder_finds(options, channels):
    brain = VisionBrain(in_channels=channels, edge_attr=True, seg=True, relative=False, **options)
    images = [*images_of_sizes(channels), sparse_image((90, 70), 0, channels)]
    for image in images:
        hierarchy, features = brain.finder.find(image[None])
        found = assemble(hierarchy, features, unroll(hierarchy, brain._vocabulary), edge_attr=True, seg=True)
        assert_same_batch(found, brain.batch([image]))


@pytest.mark.parametrize("mode", ["grid", "superpixel", "hybrid"])
def test_colours_have_softer_edges(mode):
    assert VisionBrain(mode).config["threshold"] == 32
    assert VisionBrain(mode, in_channels=3).config["threshold"] == 8
    assert VisionBrain(mode, in_channels=3, threshold=32).config["threshold"] == 32


def test_superpixels_say_what_they_need(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    brain = VisionBrain("superpixel", slic="scikit-image")
    with pytest.raises(
        ImportError, match=r"skimage is needed for slic='scikit-image': .* -m pip install scikit-image$"
    ):
        brain(sparse_image((9, 9), 0))


def test_contrast_in_many_small_islands_does_not_make_one_region():
    dots = torch.zeros(200, 200, dtype=torch.uint8)
    dots[5::10, 5::10] = 255
    brain = VisionBrain("superpixel", seg=True)
    graph = brain(dots)
    assert graph.seg.unique().numel() > brain.finder.num_regions / 2
    assert (graph.seg >= 0).all()


@pytest.mark.slow
@modes
def test_from_one_pixel_to_millions_in_one_batch(mode):
    large = sparse_image((64, 64), 3, density=0.3).repeat_interleave(32, dim=1).repeat_interleave(32, dim=2)
    images = [sparse_image((1, 1), 0), large, sparse_image((1, 700), 1), sparse_image((28, 28), 2)]
    brain = VisionBrain(mode)
    batch = brain.batch(images)
    assert batch.image_size.tolist() == [[1, 1], [2048, 2048], [1, 700], [28, 28]]
    source, target = batch.level[batch.edge_index]
    assert (source < target).all()
    for i in (0, 2, 3):
        assert_same_fields(batch[i], brain(images[i]))


@modes
def test_resized_images_are_those_that_were_smaller_or_larger(mode):
    """The graph is that of the image in the other size; only ``seg`` and ``image_size`` are of the image itself."""
    brain, plain = brain_of(mode, resize=8, seg=True), brain_of(mode, seg=True)
    small = sparse_image((8, 6), 2, density=0.4)
    large = small.repeat_interleave(3, dim=1).repeat_interleave(3, dim=2)
    found, expected = brain(large), plain(resized(large[None], 8)[0])
    assert found.image_size.tolist() == [[24, 18]]
    assert torch.equal(found.seg.view(24, 18)[1::3, 1::3].flatten(), expected.seg)
    for key in set(expected.keys()) - {"image_size", "seg"}:
        assert torch.equal(found[key], expected[key]), key
    assert_same_batch(brain.batch([small]), plain.batch([small]))

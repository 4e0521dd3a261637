"""PyG's transforms and sorting on graphs whose edges have types: the same graph, another valid one, or a refusal."""

import copy
import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache

import pytest
import torch
import torch_geometric.transforms as T
from torch import Tensor
from torch_geometric.data import Batch, Data, InMemoryDataset
from torch_geometric.loader import DataLoader

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.errors import GraphError
from grapheme_pyg.testing import renumber
from grapheme_pyg.vision import ImageGraph

SAME, VALID, RAISES = "same answer", "valid graph", "raises"
# Cartesian and the like append to edge_attr, or make it where it was not and nothing looks at it.
WIDER = "same answer, or refused: edge_attr"
TYPE, INDEX, X = "refused: edge_type", "refused: edge_index", "refused: x"

Make = Callable[[], Callable[[Data], Data]]
META_PATHS = [[("a", "b"), ("b", "c")]]
NOT_MISSING = torch.zeros(1, 1, dtype=torch.bool)
# What each transform makes of a graph of an image, with arguments that suit it.
TRANSFORMS: list[tuple[str, Make, str]] = [
    ("Compose", lambda: T.Compose([T.RemoveSelfLoops(), T.Center()]), SAME),
    ("ComposeFilters", lambda: T.ComposeFilters([lambda _: True]), "refused: batch"),
    ("ToDevice", lambda: T.ToDevice("cpu"), SAME),
    ("ToSparseTensor", lambda: T.ToSparseTensor(layout=torch.sparse_csr), INDEX),
    ("Constant", lambda: T.Constant(), SAME),
    ("Constant", lambda: T.Constant(cat=False), X),
    ("NormalizeFeatures", lambda: T.NormalizeFeatures(), VALID),
    ("SVDFeatureReduction", lambda: T.SVDFeatureReduction(2), X),
    ("RemoveTrainingClasses", lambda: T.RemoveTrainingClasses([0]), RAISES),
    ("RandomNodeSplit", lambda: T.RandomNodeSplit(num_val=1, num_test=1, key="node_type"), SAME),
    ("RandomLinkSplit", lambda: _first(T.RandomLinkSplit(is_undirected=False)), VALID),
    ("NodePropertySplit", lambda: T.NodePropertySplit("popularity", [0.3, 0.1, 0.1, 0.3, 0.2]), SAME),
    ("IndexToMask", lambda: T.IndexToMask(), SAME),
    ("MaskToIndex", lambda: T.MaskToIndex(), SAME),
    ("Pad", lambda: T.Pad(2000, 9000), TYPE),
    ("ToUndirected", lambda: T.ToUndirected(), TYPE),
    ("OneHotDegree", lambda: T.OneHotDegree(200), SAME),
    ("TargetIndegree", lambda: T.TargetIndegree(), WIDER),
    ("LocalDegreeProfile", lambda: T.LocalDegreeProfile(), SAME),
    ("AddSelfLoops", lambda: T.AddSelfLoops(), TYPE),
    ("AddRemainingSelfLoops", lambda: T.AddRemainingSelfLoops(), TYPE),
    ("RemoveSelfLoops", lambda: T.RemoveSelfLoops(), SAME),
    ("RemoveIsolatedNodes", lambda: T.RemoveIsolatedNodes(), SAME),
    ("RemoveDuplicatedEdges", lambda: T.RemoveDuplicatedEdges(), TYPE),
    ("KNNGraph", lambda: T.KNNGraph(3), TYPE),
    ("RadiusGraph", lambda: T.RadiusGraph(0.2), TYPE),
    ("ToDense", lambda: T.ToDense(), INDEX),
    ("TwoHop", lambda: T.TwoHop(), TYPE),
    ("LineGraph", lambda: T.LineGraph(), "refused: x, or refused: edge_type"),
    ("LaplacianLambdaMax", lambda: T.LaplacianLambdaMax(), SAME),
    ("GDC", lambda: T.GDC(), "raises, or refused: edge_type"),
    ("SIGN", lambda: T.SIGN(2), SAME),
    ("GCNNorm", lambda: T.GCNNorm(), TYPE),
    ("GCNNorm", lambda: T.GCNNorm(add_self_loops=False), SAME),
    ("AddMetaPaths", lambda: T.AddMetaPaths(META_PATHS), RAISES),
    ("AddRandomMetaPaths", lambda: T.AddRandomMetaPaths(META_PATHS), RAISES),
    ("RootedEgoNets", lambda: T.RootedEgoNets(1), SAME),
    ("RootedRWSubgraph", lambda: T.RootedRWSubgraph(2), "raises, or same answer"),
    ("LargestConnectedComponents", lambda: T.LargestConnectedComponents(), SAME),
    ("VirtualNode", lambda: T.VirtualNode(), TYPE),
    ("AddLaplacianEigenvectorPE", lambda: T.AddLaplacianEigenvectorPE(2), SAME),
    ("AddLaplacianEigenvectorPE", lambda: T.AddLaplacianEigenvectorPE(2, attr_name=None), SAME),
    ("AddRandomWalkPE", lambda: T.AddRandomWalkPE(2), SAME),
    ("AddGPSE", lambda: T.AddGPSE(torch.nn.Identity()), RAISES),
    ("FeaturePropagation", lambda: T.FeaturePropagation(NOT_MISSING), RAISES),
    ("HalfHop", lambda: T.HalfHop(), "raises, or refused: edge_type"),
    ("Distance", lambda: T.Distance(), WIDER),
    ("Cartesian", lambda: T.Cartesian(), WIDER),
    ("LocalCartesian", lambda: T.LocalCartesian(), WIDER),
    ("Polar", lambda: T.Polar(), WIDER),
    ("Spherical", lambda: T.Spherical(), RAISES),
    ("PointPairFeatures", lambda: T.PointPairFeatures(), RAISES),
    ("Center", lambda: T.Center(), SAME),
    ("NormalizeRotation", lambda: T.NormalizeRotation(), SAME),
    ("NormalizeScale", lambda: T.NormalizeScale(), SAME),
    ("RandomJitter", lambda: T.RandomJitter(0.1), SAME),
    ("RandomFlip", lambda: T.RandomFlip(0, 1.0), SAME),
    ("LinearTransformation", lambda: T.LinearTransformation(torch.eye(2)), SAME),
    ("RandomScale", lambda: T.RandomScale((0.9, 1.1)), SAME),
    ("RandomRotate", lambda: T.RandomRotate(10), SAME),
    ("RandomShear", lambda: T.RandomShear(0.1), SAME),
    ("FaceToEdge", lambda: T.FaceToEdge(), RAISES),
    ("FaceToEdge", lambda: T.Compose([T.Delaunay(), T.FaceToEdge()]), TYPE),
    ("SamplePoints", lambda: T.SamplePoints(5), RAISES),
    ("FixedPoints", lambda: T.FixedPoints(10), INDEX),
    ("FixedPoints", lambda: T.FixedPoints(10**6, replace=False, allow_duplicates=False), TYPE),
    ("GenerateMeshNormals", lambda: T.GenerateMeshNormals(), RAISES),
    ("Delaunay", lambda: T.Delaunay(), SAME),
    ("ToSLIC", lambda: T.ToSLIC(), RAISES),
    ("GridSampling", lambda: T.GridSampling(0.2), RAISES),
]


def _first(split: Callable[[Data], tuple[Data, ...]]) -> Callable[[Data], Data]:
    return lambda data: split(data)[0]


def typed_graph() -> ImageGraph:
    """Edges 0 → 2 of types 0 and 1, 1 → 2 of type 0; neither ``edge_index`` nor types are sorted by source."""
    return ImageGraph(
        x=torch.tensor([[1.0], [2.0], [3.0]]),
        node_type=torch.tensor([0, 0, 0]),
        level=torch.tensor([0, 0, 1]),
        edge_index=torch.tensor([[1, 0, 0], [2, 2, 2]]),
        edge_type=torch.tensor([0, 1, 0]),
        edge_attr=torch.tensor([[10.0], [1.0], [0.0]]),
    )


def edges(graph: Data, width: int | None = None) -> Counter[tuple[float, ...]]:
    """For each edge, the features of its ends, its type, and its attributes if there are any."""
    source, target = graph.edge_index
    columns = [graph.x[source, :width], graph.x[target, :width], graph.edge_type[:, None]]
    columns += [] if graph.get("edge_attr") is None else [graph.edge_attr]
    return Counter(tuple(row) for row in torch.cat(columns, dim=1).tolist())


@cache
def _small_model() -> ImageClassificationModel:
    return ImageClassificationModel(VisionBrain(), 2)


def is_refused(graph: Data) -> bool:
    """Whether a model and a batch refuse the order of a graph's edges, both of them."""
    takers: list[Callable[[Data], object]] = [
        _small_model().check,
        lambda data: Batch.from_data_list([data]),
    ]
    refused = set()
    for take in takers:
        message = ""
        try:
            take(graph)
        except GraphError as error:
            message = str(error)
        refused.add(": expected the order of edge_index" in message)
    assert len(refused) == 1
    return refused.pop()


@pytest.fixture(scope="module")
def cases() -> dict[str, tuple[ImageClassificationModel, ImageGraph]]:
    """A model and a graph of three strokes: of a lattice, and with blobs, of which several relations join the same."""
    torch.manual_seed(0)
    image = torch.zeros(28, 28, dtype=torch.uint8)
    image[:, 14:] = torch.randint(256, (28, 14), dtype=torch.uint8)
    for y, x in ((3, 3), (10, 20), (20, 8)):
        image[y : y + 5, x : x + 4] = 255
    found = {}
    for mode, with_attributes in (("grid", False), ("hybrid", True), ("hybrid", False)):
        vision = VisionBrain(mode, edge_attr=with_attributes)
        model = ImageClassificationModel(vision, 5).eval()
        found[f"{mode} {'with' if with_attributes else 'without'} edge_attr"] = model, vision(image)
    return found


@pytest.fixture(
    params=[
        "grid without edge_attr",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("hybrid with edge_attr", "hybrid without edge_attr")),
    ]
)
def case(
    request: pytest.FixtureRequest, cases: dict[str, tuple[ImageClassificationModel, ImageGraph]]
) -> Iterator[tuple[ImageClassificationModel, ImageGraph]]:
    """Each of them, without gradients."""
    with torch.no_grad():
        yield cases[request.param]


def test_every_transform_is_in_the_list() -> None:
    """pyg PR #10798, #10279."""
    assert {name for name, _, _ in TRANSFORMS} == set(T.__all__) - {"BaseTransform"}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("name", "make", "expected"), TRANSFORMS, ids=[f"{name}-{i}" for i, (name, *_) in enumerate(TRANSFORMS)]
)
def test_transforms(case: tuple[ImageClassificationModel, ImageGraph], name: str, make: Make, expected: str) -> None:
    """pyg PR #10798, #10279."""
    model, graph = case
    before, width = edges(graph), max(model.dag.in_channels)
    torch.manual_seed(0)
    try:
        out = make()(graph.clone())
    except ImportError as error:
        pytest.skip(str(error))
    except Exception:
        assert expected.startswith(RAISES), name
        return
    message = ""
    try:
        logits = model(out)
    except GraphError as error:
        message = str(error)
    if message:
        assert f"refused: {message.split(':')[0]}" in expected, message
        return
    assert expected in {SAME, VALID, WIDER, "raises, or same answer"}, name
    if expected == VALID:
        ends, came = graph.level[out.edge_index], edges(out)
        assert bool((ends[0] < ends[1]).all())
        assert name == "NormalizeFeatures" or came <= before
        return
    torch.testing.assert_close(logits, model(graph), rtol=0, atol=1e-5)
    if out.get("edge_attr") is graph.get("edge_attr"):
        assert edges(out, width) == edges(graph, width)


def test_coalesce_by_hand() -> None:
    """pyg PR #10798, #10279: of edges 0 → 2 those of one type are merged, with the mean of their attributes."""
    graph = typed_graph()
    assert not graph.is_coalesced()
    graph.edge_index = torch.tensor([[1, 0, 0, 0], [2, 2, 2, 2]])
    graph.edge_type = torch.tensor([0, 1, 0, 1])
    graph.edge_attr = torch.tensor([[10.0], [1.0], [0.0], [4.0]])
    out = graph.coalesce()
    assert out.edge_index.tolist() == [[0, 0, 1], [2, 2, 2]]
    assert out.edge_type.tolist() == [0, 1, 0]
    assert out.edge_attr.tolist() == [[0.0], [2.5], [10.0]]
    assert out.is_coalesced()
    assert not is_refused(out)
    # As in PyG, the graph itself stays as it was.
    assert graph.edge_type.tolist() == [0, 1, 0, 1]
    empty = graph.edge_subgraph(torch.tensor([], dtype=torch.int64)).coalesce()
    assert (empty.num_edges, empty.is_coalesced()) == (0, True)
    with pytest.raises(GraphError, match=r"edge_type: expected shape \[4\], got \[3\]"):
        ImageGraph(edge_index=graph.edge_index, edge_type=graph.edge_type[:3]).coalesce()


def test_coalesce_and_sort(case: tuple[ImageClassificationModel, ImageGraph]) -> None:
    """pyg PR #10798, #10279."""
    model, graph = case
    expected = model(graph)
    for out in (graph.coalesce(), graph.sort(), graph.sort(sort_by_row=False), renumber(graph).coalesce()):
        torch.testing.assert_close(model(out), expected, rtol=0, atol=1e-5)
        assert edges(out) == edges(graph)
    assert graph.coalesce().is_sorted()
    assert graph.coalesce().is_coalesced()
    assert graph.sort(sort_by_row=False).is_sorted(sort_by_row=False)


def test_coalesce_of_batches(case: tuple[ImageClassificationModel, ImageGraph]) -> None:
    """pyg PR #10798, #10279: twelve edges of the second graph are there twice."""
    model, graph = case
    twice = renumber(graph)
    some = torch.arange(graph.num_edges + 12) % graph.num_edges
    twice = twice.edge_subgraph(some)
    alone = [graph.coalesce(), twice.coalesce(), graph.coalesce()]
    assert [one.num_edges for one in alone] == [graph.num_edges] * 3
    batch = Batch.from_data_list([graph, twice, graph])
    out = batch.coalesce()
    for mine, theirs in zip(out.to_data_list(), alone, strict=True):
        assert isinstance(mine, ImageGraph)
        assert all(torch.equal(mine[key], theirs[key]) for key in graph.keys())  # noqa: SIM118
    assert torch.equal(out.get_example(1).edge_type, alone[1].edge_type)
    torch.testing.assert_close(model(out), model(Batch.from_data_list(alone)), rtol=0, atol=1e-5)
    assert [one.num_edges for one in batch.to_data_list()] == [graph.num_edges, graph.num_edges + 12, graph.num_edges]


def test_reordered_edges_are_refused() -> None:
    """pyg PR #10798, #10279: also after what keeps the wrong edges together, and with graphs that are in order."""
    graph = typed_graph().edge_subgraph(torch.tensor([0, 1]))
    came = T.RemoveDuplicatedEdges()(graph)
    assert came.edge_index.tolist() == [[0, 1], [2, 2]]
    # Attributes were sorted along; types were not.
    assert (came.edge_type.tolist(), came.edge_attr.tolist()) == ([0, 1], [[1.0], [10.0]])
    wrong = [came, came.clone(), came.to("cpu"), copy.copy(came), copy.deepcopy(came), pickle.loads(pickle.dumps(came))]
    wrong += [came.sort(sort_by_row=False), came.subgraph(torch.arange(3)), came.edge_subgraph(torch.tensor([1, 0]))]
    for one in wrong:
        assert is_refused(one)
        with pytest.raises(GraphError, match="edge_type: expected the order of edge_index"):
            one.coalesce()
    with pytest.raises(GraphError, match="edge_type: expected the order of edge_index"):
        next(iter(DataLoader([graph, came], batch_size=2)))
    # The transform can be told of the types, and then forgets the attributes.
    assert not is_refused(T.RemoveDuplicatedEdges(["edge_type", "edge_attr"])(graph))
    with pytest.raises(GraphError, match="edge_attr: expected the order of edge_index"):
        Batch.from_data_list([T.RemoveDuplicatedEdges(["edge_type"])(graph)])
    # Not so the graph that it was given.
    assert not is_refused(graph)


def test_reordered_batches_are_refused() -> None:
    """pyg PR #10798, #10279: whole, and graph by graph."""
    graph = typed_graph().edge_subgraph(torch.tensor([0, 1]))
    batch = Batch.from_data_list([graph, graph])
    came = T.RemoveDuplicatedEdges()(batch)
    assert all(is_refused(one) for one in (came, came.get_example(0), *came.to_data_list()))
    data, slices = InMemoryDataset.collate([T.RemoveDuplicatedEdges()(graph)] * 2)
    data_set = InMemoryDataset()
    data_set.data, data_set.slices = data, slices
    assert is_refused(data_set[0])


def test_setting_types_as_well_makes_it_right() -> None:
    """pyg PR #10798, #10279."""
    graph = typed_graph()
    came = graph.clone()
    order = torch.tensor([1, 2, 0])
    came.edge_index = graph.edge_index[:, order]
    assert is_refused(came)
    came.edge_type = graph.edge_type[order]
    assert is_refused(came)
    came.edge_attr = graph.edge_attr[order]
    assert not is_refused(came)
    assert edges(came) == edges(graph)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    "order_of_fields", [("edge_index", "edge_type", "edge_attr"), ("edge_attr", "edge_type", "edge_index")]
)
def test_what_keeps_edges_together_is_not_refused(order_of_fields: tuple[str, ...], seed: int) -> None:
    """pyg PR #10798, #10279: also where a permutation happens to leave one of the fields as it was."""
    graph = typed_graph()
    generator = torch.Generator().manual_seed(seed)
    for _ in range(3):
        edge_order = torch.randperm(3, generator=generator)
        permuted: dict[str, Tensor] = {name: graph[name][..., edge_order] for name in ("edge_index", "edge_type")}
        permuted["edge_attr"] = graph.edge_attr[edge_order]
        for name in order_of_fields:
            graph[name] = permuted[name]
        assert not is_refused(graph)
        assert edges(graph) == edges(typed_graph())
    others = [graph.clone(), copy.copy(graph), pickle.loads(pickle.dumps(graph)), graph.sort(), graph.coalesce()]
    others += [graph.subgraph(torch.tensor([0, 2])), renumber(graph, seed), graph.clone().to("meta").clone()]
    assert not any(is_refused(one) for one in others[:-1])
    others[-1].check_order()


def test_other_types_for_the_same_edges() -> None:
    """pyg PR #10798, #10279: types may be replaced; then they, too, have to follow the edges."""
    graph = typed_graph()
    graph.edge_type = torch.tensor([2, 1, 0])
    assert not is_refused(graph)
    graph.edge_index = graph.edge_index.flip(1)
    graph.edge_attr = graph.edge_attr.flip(0)
    assert is_refused(graph)
    graph.edge_type = torch.tensor([0, 1, 2])
    assert not is_refused(graph)

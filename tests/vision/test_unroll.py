import torch

from grapheme_pyg.vision.hierarchy import EntityType, Hierarchy, Relations, RelationType, Schema
from grapheme_pyg.vision.unroll import Vocabulary, unroll


def vocabulary_of(rounds):
    """Parts, left and right of one another, in or on wholes, which may be in further wholes."""
    parts, wholes = rounds
    names = [(0, "left_of", 0), (0, "self", 0), (0, "right_of", 0), (1, "self", 1)]
    part_of = [(0, "in", 1), (0, "on", 1), (1, "in", 1)]
    return Vocabulary(
        Schema(
            (EntityType("part", 0, 3, parts), EntityType("whole", 1, 2, wholes)),
            tuple(RelationType(*name) for name in names),
            tuple(RelationType(*name) for name in part_of),
        )
    )


def hierarchy(level, lateral=(), part_of=(), image=None):
    """Relations are (source, target, type)."""
    columns = [torch.tensor(edges, dtype=torch.int64).view(-1, 3).t() for edges in (lateral, part_of)]
    return Hierarchy(
        num_images=1 if image is None else max(image) + 1,
        image=torch.tensor(image or [0] * len(level)),
        level=torch.tensor(level),
        type=torch.tensor(level).clamp(max=1),
        centre=torch.zeros(len(level), 2, dtype=torch.float64),
        lateral=Relations(*columns[0]),
        part_of=Relations(*columns[1]),
        finest_of_pixel=torch.zeros(1, 1, dtype=torch.int64),
        size=(1, 1),
    )


# Entity 0 is left of entity 1, which is right of it; 0 is in entity 2 and 1 is on it.
THREE = hierarchy([0, 0, 1], lateral=[(0, 1, 0), (1, 0, 2)], part_of=[(0, 2, 0), (1, 2, 1)])


def triples(dag, vocabulary):
    columns = (dag.edge_index[0].tolist(), dag.edge_type.tolist(), dag.edge_index[1].tolist())
    edges = []
    for source, kind, target in zip(*columns, strict=True):
        before, relation, after = vocabulary.edge_types[kind]
        ends = tuple(vocabulary.node_types[dag.node_type[end]] for end in (source, target))
        assert (before, after) == ends
        edges.append((source, relation, target))
    return edges


def test_vocabulary_of_two_rounds_and_one():
    vocabulary = vocabulary_of((2, 1))
    assert vocabulary.node_types == ["part_round0", "part_round1", "whole_round0"]
    assert vocabulary.node_levels == [0, 0, 1]
    assert vocabulary.edge_types == [
        ("part_round0", "left_of", "part_round1"),
        ("part_round0", "self", "part_round1"),
        ("part_round0", "right_of", "part_round1"),
        ("part_round1", "in", "whole_round0"),
        ("part_round1", "on", "whole_round0"),
        # For the levels beyond the last one.
        ("whole_round0", "in", "whole_round0"),
    ]


def test_vocabulary_of_three_rounds_and_two():
    vocabulary = vocabulary_of((3, 2))
    assert vocabulary.node_types == [
        "part_round0",
        "part_round1",
        "part_round2",
        "whole_round0",
        "whole_round1",
    ]
    assert vocabulary.node_levels == [0, 0, 0, 1, 1]
    assert vocabulary.edge_types == [
        ("part_round0", "left_of", "part_round1"),
        ("part_round0", "self", "part_round1"),
        ("part_round0", "right_of", "part_round1"),
        ("part_round1", "left_of", "part_round2"),
        ("part_round1", "self", "part_round2"),
        ("part_round1", "right_of", "part_round2"),
        ("part_round2", "in", "whole_round0"),
        ("part_round2", "on", "whole_round0"),
        ("whole_round0", "self", "whole_round1"),
        ("whole_round1", "in", "whole_round0"),
    ]


def test_three_entities_in_two_rounds_and_one():
    vocabulary = vocabulary_of((2, 1))
    dag = unroll(THREE, vocabulary)
    assert dag.entity.tolist() == [0, 1, 0, 1, 2]
    assert dag.node_type.tolist() == [0, 0, 1, 1, 2]
    assert dag.level.tolist() == [0, 0, 1, 1, 2]
    assert vocabulary.first_stages(len([0, 2])) == [0, 2]
    # By target, then type, in the order of the vocabulary.
    assert triples(dag, vocabulary) == [
        (0, "self", 2),
        (1, "right_of", 2),
        (0, "left_of", 3),
        (1, "self", 3),
        (2, "in", 4),
        (3, "on", 4),
    ]


def test_three_entities_in_three_rounds_and_two():
    vocabulary = vocabulary_of((3, 2))
    dag = unroll(THREE, vocabulary)
    assert dag.entity.tolist() == [0, 1, 0, 1, 0, 1, 2, 2]
    assert dag.node_type.tolist() == [0, 0, 1, 1, 2, 2, 3, 4]
    assert dag.level.tolist() == [0, 0, 1, 1, 2, 2, 3, 4]
    assert vocabulary.first_stages(len([0, 3])) == [0, 3]
    assert triples(dag, vocabulary) == [
        (0, "self", 2),
        (1, "right_of", 2),
        (0, "left_of", 3),
        (1, "self", 3),
        (2, "self", 4),
        (3, "right_of", 4),
        (2, "left_of", 5),
        (3, "self", 5),
        (4, "in", 6),
        (5, "on", 6),
        (6, "self", 7),
    ]


def test_edges_of_one_target_and_type_are_in_order_of_their_sources():
    # Both parts are in the whole, given in the other order.
    dag = unroll(hierarchy([0, 0, 1], part_of=[(1, 2, 0), (0, 2, 0)]), vocabulary_of((1, 1)))
    assert dag.edge_index[0].tolist() == [0, 1]
    assert dag.edge_index[1].tolist() == [2, 2]


def test_levels_beyond_the_configured_ones_share_the_types_of_the_last():
    # A chain of four entities, each in the next, on four levels where two are configured.
    chain = hierarchy([0, 1, 2, 3], part_of=[(0, 1, 1), (1, 2, 2), (2, 3, 2)])
    vocabulary = vocabulary_of((1, 2))
    dag = unroll(chain, vocabulary)
    assert dag.entity.tolist() == [0, 1, 1, 2, 2, 3, 3]
    assert [vocabulary.node_types[kind] for kind in dag.node_type] == [
        "part_round0",
        *["whole_round0", "whole_round1"] * 3,
    ]
    assert dag.level.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert vocabulary.first_stages(len([0, 1, 3, 5])) == [0, 1, 3, 5]
    assert triples(dag, vocabulary) == [
        (0, "on", 1),
        (1, "self", 2),
        (2, "in", 3),
        (3, "self", 4),
        (4, "in", 5),
        (5, "self", 6),
    ]


def test_part_of_edges_leave_the_last_round_of_entities_that_do_not_start_at_zero():
    # Levels 0 and 1 have two entities each; the part-of edge of entity 3 leaves its node of the last round.
    two = hierarchy([0, 0, 1, 1, 2], part_of=[(0, 3, 0), (3, 4, 2)])
    dag = unroll(two, vocabulary_of((1, 2)))
    # Nodes 0, 1; 2, 3 and again 4, 5; then 6 and 7.
    assert dag.entity.tolist() == [0, 1, 2, 3, 2, 3, 4, 4]
    assert list(zip(dag.edge_index[0].tolist(), dag.edge_index[1].tolist(), strict=True)) == [
        (0, 3),
        (2, 4),
        (3, 5),
        (5, 6),
        (6, 7),
    ]


def test_images_are_unrolled_one_after_the_other():
    # The three entities of above, and an image of one part in one whole.
    two = hierarchy([0, 0, 1, 0, 1], [(0, 1, 0), (1, 0, 2)], [(0, 2, 0), (1, 2, 1), (3, 4, 1)], image=[0, 0, 0, 1, 1])
    vocabulary = vocabulary_of((2, 1))
    dag = unroll(two, vocabulary)
    assert dag.entity.tolist() == [0, 1, 0, 1, 2, 3, 3, 4]
    assert dag.level.tolist() == [0, 0, 1, 1, 2, 0, 1, 2]
    assert dag.first_node.tolist() == [0, 1, 4, 5, 7]
    assert triples(dag, vocabulary)[-2:] == [(5, "self", 6), (6, "on", 7)]
    assert triples(dag, vocabulary)[:-2] == triples(unroll(THREE, vocabulary), vocabulary)


def test_part_of_relations_may_skip_levels_and_stages_do_not_depend_on_what_is_there():
    # A whole on the third level, with a part and nothing between them.
    skipping = hierarchy([0, 2], part_of=[(0, 1, 0)])
    vocabulary = vocabulary_of((2, 2))
    dag = unroll(skipping, vocabulary)
    assert dag.level.tolist() == [0, 1, 4, 5]
    assert triples(dag, vocabulary) == [(0, "self", 1), (1, "in", 2), (2, "self", 3)]

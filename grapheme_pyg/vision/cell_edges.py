"""Unrolling of cells into the same graphs as :func:`grapheme_pyg.vision.unroll.unroll`, without sorting.

The neighbours of cells follow from their places, so edges are written in order, and little memory is needed beside the
result. Knows no pixels.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from grapheme_pyg.vision.cells import PLACES, number_present
from grapheme_pyg.vision.unroll import Dag, Vocabulary

# Number of cells whose neighbours are looked up together.
CELLS = 2**17


def unroll_cells(grids: Sequence[Tensor], alone: Tensor, vocabulary: Vocabulary) -> Dag:
    """Unrolls the cells of images.

    Args:
        grids: For each level, fine to coarse, bool ``[B, rows, columns]``: the cells of images.
        alone: bool ``[B]``, images that have no cells, but one node that stands for the whole image.
        vocabulary: The vocabulary of a schema with nine lateral and nine part-of relations of each entity type, in the
            order of :data:`grapheme_pyg.vision.cells.PLACES`. Levels beyond the last type have that type.
    """
    kinds = [min(i, vocabulary.num_levels - 1) for i in range(len(grids))]
    rounds = [vocabulary.schema.entity_types[kind].rounds for kind in kinds]
    first_type = [vocabulary.first_node_type[kind] for kind in kinds]
    first_stage = vocabulary.first_stages(len(grids))
    # The first entity of each image and level, and the first node of each image, level and round.
    counts = torch.stack([grid.flatten(1).sum(1) for grid in grids] + [alone], dim=1)
    first_entity = (counts.flatten().cumsum(0) - counts.flatten()).view_as(counts)
    groups = [(i, r) for i, number in enumerate(rounds) for r in range(number)]
    # A node that stands for the whole image has the type and stage of the first round of the highest level.
    stages = [*((first_type[i] + r, first_stage[i] + r) for i, r in groups), (first_type[-1], first_stage[-1])]
    column = torch.tensor([*(i for i, _ in groups), len(grids)])
    in_group = counts[:, column].flatten()
    first_node = in_group.cumsum(0) - in_group
    num_nodes = int(in_group.sum())
    node_type, level = (
        torch.tensor(values).repeat(len(alone)).repeat_interleave(in_group) for values in zip(*stages, strict=True)
    )
    shift = (first_entity[:, column].flatten() - first_node).repeat_interleave(in_group)
    entity = torch.arange(num_nodes).add_(shift)
    nodes = first_node.view(len(alone), -1).tolist()
    place = {group: i for i, group in enumerate(groups)}

    blocks = []
    for b in range(len(alone)):
        below: Tensor | None = None
        for i, grid in enumerate(grids):
            here = number_present(grid[b])
            if below is not None:
                types = vocabulary.part_of_types[9 * kinds[i - 1] : 9 * kinds[i - 1] + 9]
                ends = nodes[b][place[i - 1, rounds[i - 1] - 1]], nodes[b][place[i, 0]]
                blocks.append((below, here, 2, [(*ends, types)]))
            if rounds[i] > 1:
                own = vocabulary.lateral_types[9 * kinds[i] : 9 * kinds[i] + 9]
                ends_of = [(nodes[b][place[i, r - 1]], nodes[b][place[i, r]], own[:, r]) for r in range(1, rounds[i])]
                blocks.append((here, here, 1, ends_of))
            below = here
    num_edges = [sum(int((found >= 0).sum()) for found, _ in _neighbours(*block[:3])) for block in blocks]
    total = sum(number * len(block[3]) for number, block in zip(num_edges, blocks, strict=True))
    edge_index, edge_type = torch.empty(2, total, dtype=torch.int64), torch.empty(total, dtype=torch.int64)
    start = 0
    for number, (sources, targets, stride, ends_of) in zip(num_edges, blocks, strict=True):
        done = start
        for found, readers in _neighbours(sources, targets, stride):
            there = found >= 0
            source = found[there]
            target = readers.repeat_interleave(there.sum(1))
            for copy, (from_source, from_target, types) in enumerate(ends_of):
                at = slice(done + copy * number, done + copy * number + len(source))
                torch.add(source, from_source, out=edge_index[0, at])
                torch.add(target, from_target, out=edge_index[1, at])
                edge_type[at] = types.expand_as(found)[there]
            done += len(source)
        start += number * len(ends_of)
    first_of = torch.tensor([*(place[i, 0] for i in range(len(grids))), len(groups)])
    firsts = torch.tensor(nodes).view(len(alone), -1)[:, first_of] - first_entity
    first = torch.arange(int(counts.sum())) + firsts.flatten().repeat_interleave(counts.flatten())
    return Dag(entity, node_type, level, edge_index, edge_type, first)


def _neighbours(sources: Tensor, targets: Tensor, stride: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields, for some cells at a time, the cells at the nine places around each, ``[n, 9]``, and their numbers.

    Args:
        sources: Numbers of the cells at these places, ``[rows, columns]``, −1 for none.
        targets: Numbers of the cells around which they are, ``[rows, columns]``, −1 for none.
        stride: The places of target cell (y, x) are around (stride · y, stride · x).
    """
    rows, columns = targets.shape
    padded = F.pad(sources, (1, 1 + stride, 1, 1 + stride), value=-1)
    step = max(1, CELLS // columns)
    for top in range(0, rows, step):
        some = targets[top : top + step]
        here = some >= 0
        around = [
            padded[stride * top + dy + 1 :: stride, dx + 1 :: stride][: len(some), :columns][here] for dy, dx in PLACES
        ]
        yield torch.stack(around, dim=1), some[here]

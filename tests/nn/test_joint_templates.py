import pytest
import torch
from process_groups import in_threads
from torch import Tensor
from torch.nn.functional import normalize

from grapheme_pyg.nn.templates import move_templates


def shares(templates: Tensor, embedding: Tensor, labels: Tensor, world_size: int) -> list[Tensor]:
    """The new templates of each process, of which each has every so many-th embedding."""
    position = torch.arange(len(labels))
    return in_threads(
        world_size,
        lambda rank, processes: move_templates(
            templates,
            embedding[rank::world_size],
            labels[rank::world_size],
            0.9,
            position=position[rank::world_size],
            process_group=processes,
        ),
    )


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("unset", [0, 1, 4])
@pytest.mark.parametrize("batch_size", [1, 2, 25])
def test_as_one_process_would(world_size: int, unset: int, batch_size: int) -> None:
    templates = normalize(torch.randn(3, 4, 5, dtype=torch.float64), dim=-1)
    templates[:, :unset] = 0
    embedding, labels = torch.randn(batch_size, 5, dtype=torch.float64), torch.randint(3, (batch_size,))
    embedding[batch_size // 2 :] = embedding[: batch_size - batch_size // 2].clone()  # some come twice
    expected = move_templates(templates, embedding, labels, 0.9)
    for moved in shares(templates, embedding, labels, world_size):
        torch.testing.assert_close(moved, expected, rtol=0, atol=1e-14)


def test_unset_templates_by_hand() -> None:
    # Two templates, three embeddings of their class, of which the first two are alike: the first process has the first
    # and the third, and would have to wait for the second if that were another.
    templates = torch.zeros(1, 2, 2)
    embedding = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    for moved in shares(templates, embedding, torch.zeros(3, dtype=torch.int64), 2):
        assert moved.tolist() == [[[1, 0], [0, 1]]]
    # The second process has the second embedding, which comes before the third.
    embedding[1] = torch.tensor([0.0, -1.0])
    for moved in shares(templates, embedding[:2], torch.zeros(2, dtype=torch.int64), 2):
        assert moved.tolist() == [[[1, 0], [0, -1]]]

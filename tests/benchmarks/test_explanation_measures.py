"""The measures of explanations: what is taken away, and what is left."""

import explanations
import torch

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.explanation.attribution import frozen_copy


def test_the_first_entries_are_taken() -> None:
    scores = [torch.tensor([0.0, 3.0, -1.0, 2.0]), torch.tensor([1.0, 1.0])]
    assert [mask.tolist() for mask in explanations.taken(scores, 0.5)] == [[False, True, False, True], [True, False]]
    assert not torch.cat(explanations.taken(scores, 0)).any()
    assert torch.cat(explanations.taken(scores, 1)).all()


def test_edges_and_pixels_are_removed() -> None:
    torch.manual_seed(0)
    model = ImageClassificationModel.from_preset("tiny", 3).eval()
    images = torch.zeros(3, 1, 12, 12, dtype=torch.uint8)
    images[0, 0, 2:9, 5], images[1, 0, 3, 2:8], images[2, 0, 4:6] = 255, 200, 180
    copy, batches = frozen_copy(model), [model.vision.batch(images[:2]), model.vision.batch(images[2:])]
    counts = [model.vision(image).num_edges for image in images]
    with torch.no_grad():
        whole, blank = model(model.vision.batch(images)), model(model.vision(torch.zeros_like(images[0])))
    everything = [torch.ones(count, dtype=torch.bool) for count in counts]
    torch.testing.assert_close(explanations.without_edges(copy, batches, everything), whole)
    # Without the edges of one image, the others stay as they are.
    found = explanations.without_edges(copy, batches, [everything[0], ~everything[1], everything[2]])
    torch.testing.assert_close(found[::2], whole[::2])
    assert (found[1] - whole[1]).abs().max() > 1e-3
    assert copy.dag.explain is None

    inks = [image.flatten().nonzero().squeeze(1) for image in images]
    left = [torch.ones(len(ink), dtype=torch.bool) for ink in inks]
    torch.testing.assert_close(explanations.with_pixels(model, images, inks, left), whole)
    found = explanations.with_pixels(model, images, inks, [left[0], ~left[1], left[2]])
    torch.testing.assert_close(found, torch.cat([whole[:1], blank, whole[2:]]))


def test_curves_go_from_the_whole_to_nothing_and_back() -> None:
    # Two classes: the share of entries that are left is the logit of the first.
    scores = [torch.arange(40.0), torch.arange(20.0)]

    def logits(masks: list[torch.Tensor]) -> torch.Tensor:
        left = torch.stack([mask.float().mean() for mask in masks])
        return torch.stack([left, torch.full_like(left, 0.5)], dim=1)

    probability, same = explanations.curves(logits, scores, torch.tensor([0, 0]))
    shares = torch.tensor(explanations.SHARES)
    torch.testing.assert_close(probability[0], (1 - shares - 0.5).sigmoid().expand(2, -1))
    torch.testing.assert_close(probability[1], (shares - 0.5).sigmoid().expand(2, -1))
    assert same[1, 0].tolist() == [share >= 0.5 for share in explanations.SHARES]

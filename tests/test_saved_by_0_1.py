"""Models that version 0.1 saved predict what they predicted then."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.testing import plain_operators

SAVED = Path(__file__).parent / "saved_by_0_1"


@pytest.mark.parametrize("name", ["grid", "blob", "superpixel"])
def test_predictions_stay(name: str) -> None:
    model = ImageClassificationModel.from_pretrained(SAVED / name)
    expected = load_file(SAVED / f"{name}.safetensors")
    images = expected["images"]
    torch.testing.assert_close(model.predict(images).similarities, expected["similarities"], rtol=0, atol=1e-5)
    torch.testing.assert_close(model.embed_images(images), expected["embeddings"], rtol=1e-5, atol=1e-5)
    with plain_operators():
        torch.testing.assert_close(model.predict(images).similarities, expected["similarities"], rtol=0, atol=1e-5)

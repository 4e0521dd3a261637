"""The benchmark of exported models measures, and what is quoted was measured."""

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import torch
from export import COMPARED, measure, report

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.datasets import Split

ROOT = Path(__file__).parents[2]


def printed(figures: dict[str, object]) -> str:
    out = StringIO()
    with redirect_stdout(out):
        report(figures)
    return out.getvalue().strip()


def test_what_is_quoted_was_measured() -> None:
    figures = json.loads((ROOT / "benchmarks/results/export.json").read_text())
    assert printed(figures) in (ROOT / "docs/export.md").read_text()
    assert max(figures["onnx_difference"], figures["program_difference"]) < 1e-4


@pytest.mark.slow
def test_measuring(digits: tuple[Split, Split]) -> None:
    model = ImageClassificationModel.from_preset("tiny").eval()
    with torch.inference_mode():
        figures = measure(model, digits[1].images[:COMPARED], max_size=28, turns=1)
    assert [row["batch_size"] for row in figures["rows"]] == [1, 16, COMPARED]
    assert max(figures["onnx_difference"], figures["program_difference"]) < 1e-4
    assert printed(figures).count("ms |") == 5 * 3

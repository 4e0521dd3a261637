"""The command ``export`` writes what the functions write."""

from pathlib import Path
from typing import Literal

import pytest

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.cli.export import export
from grapheme_pyg.export import read_format


@pytest.mark.parametrize("form", ["onnx", "program"])
def test_command(form: Literal["onnx", "program"], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ImageClassificationModel.from_preset("tiny", ["ring", "bar"]).save_pretrained(tmp_path / "model")
    # The ending that PyTorch wants.
    out = tmp_path / {"onnx": "model.onnx", "program": "model.pt2"}[form]
    export(tmp_path / "model", out, format=form)
    assert capsys.readouterr().out.endswith(f"{out}\n")
    assert read_format(out).classes == ["ring", "bar"]

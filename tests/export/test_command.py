"""The command ``export`` writes what the functions write."""

import logging
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.cli import main
from grapheme_pyg.export import read_format

LOGGER = "torch.onnx._internal.exporter._registration"


def arguments(form: str, folder: Path) -> list[str]:
    ImageClassificationModel.from_preset("tiny", ["ring", "bar"]).save_pretrained(folder / "model")
    # The ending that PyTorch wants.
    out = folder / {"onnx": "model.onnx", "program": "model.pt2"}[form]
    return ["export", str(folder / "model"), str(out), "--format", form]


@pytest.mark.parametrize("form", [pytest.param("onnx", marks=pytest.mark.slow), "program"])
def test_command(form: Literal["onnx", "program"], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # PyTorch's own handler took the stream of errors before this test began to read it.
    handler, logger = logging.StreamHandler(sys.stderr), logging.getLogger(LOGGER)
    logger.addHandler(handler)
    try:
        command = arguments(form, tmp_path)
        assert main(command) == 0
    finally:
        logger.removeHandler(handler)
    assert capsys.readouterr() == (f"{command[2]}\n", "")
    assert read_format(command[2]).classes == ["ring", "bar"]
    # What other exports of this process log is theirs.
    assert logger.filters == []


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "program"])
def test_a_process_is_quiet(form: str, tmp_path: Path) -> None:
    command = arguments(form, tmp_path)
    done = subprocess.run([sys.executable, "-m", "grapheme_pyg", *command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"{command[2]}\n", "")

"""``grapheme export``: a model for use without this library."""

from pathlib import Path
from typing import Literal

from grapheme_pyg.cli.outputs import check_output
from grapheme_pyg.export import export_onnx, export_program
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.names import say


def export(model: Path, out: Path, *, format: Literal["onnx", "program"] = "onnx") -> None:  # noqa: A002
    """Writes a model for use without this library; docs/export.md describes its inputs.

    Args:
        model: Folder of a model, or the name of one that comes with the package.
        out: The file to write.
        format: ``onnx``, or ``program`` for ``torch.export.load``.
    """
    check_output("out", out, model)
    network = ImageClassificationModel.from_pretrained(model)
    {"onnx": export_onnx, "program": export_program}[format](network, out)
    say(str(out))

"""Exported models against the model itself: sizes, agreement on digits, and times, on one core.

    python benchmarks/studies/export.py
    python benchmarks/studies/export.py --mode blob --out runs/export-blob.json

Times start from graphs; the making of tables from a graph is timed separately. Everything is warmed up and timed in
turn; medians. Without a model, the untrained preset `base` is used, which takes as long.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

sys.path.append(str(Path(__file__).parents[1]))  # helpers of all benchmarks
from common import RESULTS
from timing import in_turn, machine, show

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.datasets import load_mnist
from grapheme_pyg.export import export_onnx, export_program, graph_inputs

BATCH_SIZES = (1, 16, 128)
COMPARED = 100


def measure(model: ImageClassificationModel, images: torch.Tensor, *, max_size: int, turns: int) -> dict[str, Any]:
    """Measures sizes of files, seconds to write ONNX, greatest differences of logits, and milliseconds by batch size.

    Args:
        model: The model, in evaluation mode.
        images: A few hundred digits.
        max_size: The most pixels a side of images, for the export.
        turns: How often each is timed.
    """
    with tempfile.TemporaryDirectory() as name:
        onnx, file = Path(name) / "model.onnx", Path(name) / "model.pt2"
        started = time.perf_counter()
        input_format = export_onnx(model, onnx, max_size=max_size)
        seconds = time.perf_counter() - started
        export_program(model, file, max_size=max_size)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(onnx, options)
        program = torch.export.load(file).module()
        sizes = {"onnx_bytes": onnx.stat().st_size, "program_bytes": file.stat().st_size, "onnx_seconds": seconds}

    batch = model.vision.batch(images[:COMPARED])
    logits, arrays = model(batch).numpy(), graph_inputs(input_format, batch)
    answers = {
        "onnx": session.run(["logits"], arrays)[0],
        "program": program({key: torch.from_numpy(value) for key, value in arrays.items()})["logits"].numpy(),
    }
    differences = {f"{key}_difference": float(np.abs(value - logits).max()) for key, value in answers.items()}
    return {
        **sizes,
        **differences,
        "inputs": len(input_format.inputs),
        "generations": len(input_format.generations),
        "max_size": max_size,
        "rows": [_time(model, session, program, images[:size], input_format, turns) for size in BATCH_SIZES],
    }


def _time(
    model: ImageClassificationModel, session: Any, program: Any, images: torch.Tensor, input_format: Any, turns: int
) -> dict[str, float]:
    batch = model.vision.batch(images)
    arrays = graph_inputs(input_format, batch)
    tensors = {key: torch.from_numpy(value) for key, value in arrays.items()}
    ways = {
        "model": lambda: model(batch),
        "onnx": lambda: session.run(["logits"], arrays),
        "program": lambda: program(tensors),
        "tables": lambda: graph_inputs(input_format, batch),
        "graphs": lambda: model.vision.batch(images),
    }
    seconds = in_turn(ways, turns=turns, warm_up=5)
    return {"batch_size": len(images)} | {name: 1e3 * value for name, value in seconds.items()}


def report(figures: dict[str, Any]) -> None:
    """Prints tables in Markdown."""
    rows = [
        [
            str(row["batch_size"]),
            *(f"{row[name]:.2f} ms" for name in ("graphs", "model", "tables", "onnx", "program")),
            f"{row['onnx'] / row['model']:.2f}",
            f"{(row['tables'] + row['onnx']) / row['model']:.2f}",
        ]
        for row in figures["rows"]
    ]
    header = ["batch", "graphs made", "`model(batch)`", "tables made", "ONNX", "program"]
    show("Milliseconds", [*header, "ONNX / model", "with tables"], rows)
    facts = [
        ["ONNX file", f"{figures['onnx_bytes']:,} bytes"],
        ["program file", f"{figures['program_bytes']:,} bytes"],
        ["writing ONNX", f"{figures['onnx_seconds']:.0f} s"],
        ["inputs, generations", f"{figures['inputs']}, {figures['generations']}"],
        [f"greatest difference of logits, ONNX, {COMPARED} digits", f"{figures['onnx_difference']:.1e}"],
        ["the same, program", f"{figures['program_difference']:.1e}"],
    ]
    show("Files", ["", ""], facts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a model (the preset base, untrained)")
    parser.add_argument("--mode", default="grid", help="mode of the untrained model (%(default)s)")
    parser.add_argument("--max-size", type=int, default=256, help="most pixels a side of images (%(default)s)")
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--out", type=Path, default=RESULTS / "export.json", metavar="FILE", help="(%(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if arguments.model is None:
        model = ImageClassificationModel.from_preset("base", vision={"mode": arguments.mode}).eval()
    else:
        model = ImageClassificationModel.from_pretrained(arguments.model)
    with torch.inference_mode():
        figures = measure(model, load_mnist().test.images, max_size=arguments.max_size, turns=arguments.turns)
    report(figures)
    versions = {"onnxruntime": onnxruntime.__version__, "machine": machine()}
    arguments.out.write_text(json.dumps(figures | versions, indent=2, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()

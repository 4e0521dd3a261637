"""All measurements of speed in one run: tables, docs/images/speed.png and benchmarks/results/latest.json.

make bench
"""

import argparse
import json
from contextlib import redirect_stdout
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import speed_scaling
import speed_steps
import speed_throughput
import speed_time_to_99
from common import RESULTS, ROOT, replace_between, this_code
from matplotlib.figure import Figure
from PIL import Image
from timing import machine

PICTURE, PAGE, README = ROOT / "docs/images/speed.png", ROOT / "docs/speed.md", ROOT / "README.md"
PARTS = (speed_steps, speed_scaling, speed_throughput, speed_time_to_99)
# Ratios that should be small.
BARS = {
    "step, against Conv2d": "step_vs_conv2d_f32",
    "step in bf16, against Conv2d": "step_vs_conv2d_bf16",
    "inference, against Conv2d": "inference_vs_conv2d_f32",
    "step, against RGCNConv": "step_vs_rgcn_f32",
    "step, against FastRGCNConv": "step_vs_fast_rgcn_f32",
    "step in bf16, against float32": "bf16_step_vs_f32_step",
    "memory of a step, against Conv2d": "memory_vs_conv2d",
}


def draw(figures: dict[str, Any]) -> Figure:
    """Draws time over nodes, both logarithmic, and ratios as bars."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows, line = figures["scaling"], figures["scaling_line"]
    nodes = sorted(row["nodes"] for row in rows)
    left.loglog(nodes, [line["a_ms"] + 1e-6 * line["b_ns"] * n for n in nodes], color="tab:grey", linewidth=1)
    left.loglog([row["nodes"] for row in rows], [row["ms"] for row in rows], "o", color="tab:blue")
    left.set(xlabel="nodes in a batch", ylabel="training step, ms")
    left.set_title(f"{line['a_ms']:.1f} ms + {line['b_ns']:.0f} ns · nodes", fontsize=10)
    values = [figures[key] for key in BARS.values()]
    right.barh(list(BARS), values, color="tab:blue")
    right.set_xlim(0, 1.15 * max(values))
    right.axvline(1, color="tab:grey", linewidth=1)
    for place, value in enumerate(values):
        right.text(value + 0.01, place, f"{value:.2f}", va="center", fontsize=8)
    right.invert_yaxis()
    right.tick_params(labelsize=8)
    right.set_title("ours as a share of the other", fontsize=10)
    return figure


def summary(figures: dict[str, Any]) -> str:
    """Returns the table of the figures that README quotes."""
    rows = [
        ["time to 99 %, relative to a small plain CNN", f"{figures['time_to_99_vs_small_cnn']:.2f}"],
        ["training step, relative to dense `Conv2d`: float32", f"{figures['step_vs_conv2d_f32']:.2f}"],
        ["the same in bfloat16", f"{figures['step_vs_conv2d_bf16']:.2f}"],
        ["the same in float32 with AVX2 alone", f"{figures['step_vs_conv2d_avx2']:.2f}"],
        ["inference, relative to dense `Conv2d`: float32", f"{figures['inference_vs_conv2d_f32']:.2f}"],
        ["training step, relative to `RGCNConv` on the same graphs", f"{figures['step_vs_rgcn_f32']:.2f}"],
        ["images trained on per second, from pixels", f"{figures['train_images_per_s']:,.0f}"],
        ["from an image to its prediction", f"{figures['single_image_ms']:.1f} ms"],
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    facts = figures["machine"]
    places = f"{facts['threads']} cores of {facts['cpu']}, PyTorch {facts['torch']}, commit {figures['commit'][:7]}."
    return f"| MNIST | ours ÷ theirs, below 1 is faster |\n| --- | --- |\n{table}\n\nMeasured on {places}"


def write(figures: dict[str, Any]) -> None:
    """Writes the figures into the page and README, and draws the picture."""
    tables = StringIO()
    with redirect_stdout(tables):
        for part in PARTS:
            part.report(figures)
    for file, name, text in ((PAGE, "figures", tables.getvalue().strip()), (README, "speed", summary(figures))):
        file.write_text(replace_between(file.read_text(), name, text))
    drawn = BytesIO()
    draw(figures).savefig(drawn, dpi=110)
    Image.open(drawn).convert("RGB").quantize(64).save(PICTURE, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="measure only a few turns of each, to see whether it works"
    )
    parser.add_argument("--again", action="store_true", help="measure nothing; write the pages from the last results")
    parser.add_argument("--out", type=Path, default=RESULTS / "latest.json", metavar="FILE", help="(%(default)s)")
    arguments = parser.parse_args()
    quick = arguments.quick
    if arguments.again:
        write(json.loads(arguments.out.read_text()))
        return
    figures: dict[str, Any] = {"machine": machine(), "commit": this_code()["commit"]}
    figures["processor"] = figures["machine"]["cpu"]
    options: list[dict[str, Any]] = [
        {"turns": 3 if quick else 40},
        {"turns": 1 if quick else 7, "large": not quick},
        {"turns": 1 if quick else 3},
        {"seeds": [0] if quick else [0, 1, 2, 3, 4]},
    ]
    for part, chosen in zip(PARTS, options, strict=True):
        measured = part.measure(**chosen)
        part.report(measured)
        figures |= measured
    arguments.out.write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n")
    if not quick:
        write(figures)


if __name__ == "__main__":
    main()

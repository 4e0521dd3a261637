"""All measurements of speed in one run: tables, docs/images/speed.png and benchmarks/results/latest.json.

make bench
"""

import argparse
import json
from pathlib import Path
from typing import Any

import speed_scaling
import speed_steps
import speed_throughput
import speed_time_to_99
from matplotlib.figure import Figure
from plain_training import RESULTS
from timing import machine

PICTURE = Path(__file__).parents[1] / "docs/images/speed.png"
# What is asked of the library, where it is a ratio that should be small.
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
    """Time over nodes, both logarithmic; and ratios as bars."""
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
    right.axvline(1, color="tab:grey", linewidth=1)
    for place, value in enumerate(values):
        right.text(value + 0.01, place, f"{value:.2f}", va="center", fontsize=8)
    right.invert_yaxis()
    right.tick_params(labelsize=8)
    right.set_title("ours as a share of the other", fontsize=10)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few turns of each, to see whether it works")
    parser.add_argument("--out", default=str(RESULTS / "latest.json"), metavar="FILE", help="(default: %(default)s)")
    parser.add_argument("--picture", default=str(PICTURE), metavar="FILE", help="(default: %(default)s)")
    arguments = parser.parse_args()
    quick = arguments.quick
    figures: dict[str, Any] = {"machine": machine()}
    for part, options in (
        (speed_steps, {"turns": 3 if quick else 40}),
        (speed_scaling, {"turns": 1 if quick else 7, "large": not quick}),
        (speed_throughput, {"turns": 1 if quick else 3}),
        (speed_time_to_99, {"seeds": [0] if quick else [0, 1, 2]}),
    ):
        measured = part.measure(**options)
        part.report(measured)
        figures |= measured
    Path(arguments.out).write_text(json.dumps(figures, indent=2) + "\n")
    draw(figures).savefig(arguments.picture, dpi=110)


if __name__ == "__main__":
    main()

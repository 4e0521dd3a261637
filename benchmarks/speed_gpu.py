"""Times on a GPU: a step and an inference, against dense and PyG's relational convolutions; and training from pixels.

Inputs are on the GPU beforehand: graphs for our layers and for `RGCNConv`, maps of all cells for dense convolutions.
Our time includes planning on the GPU; with "plan kept", the plan is made beforehand, as by a loading process. TF32 is
allowed for all.

    python benchmarks/speed_gpu.py
"""

import copy
from functools import partial
from typing import Any, Final

import torch
from dense_twin import DenseTwin, channels_last, lattice_maps
from relational_twin import RelationalTwin
from speed_steps import BATCH_SIZE, PRECISIONS, Task, graphs_of
from timing import in_turn, show
from torch import Tensor, nn
from torch_geometric.nn import RGCNConv

from grapheme_pyg import ImageClassificationModel, TrainingSettings, fit
from grapheme_pyg.datasets import Split, load_mnist
from grapheme_pyg.training.settings import Precision

DEVICE: Final = "cuda"
TURNS, BATCHES = 15, 4
# Training from pixels: images, epochs, batch sizes and precisions.
IMAGES, EPOCHS, BATCH_SIZES = 20_000, 2, (128, 1024)
TRAINED_IN: tuple[Precision, ...] = ("32-true", "bf16-mixed")


class Planned(nn.Module):
    """A model whose graphs come with their plans."""

    def __init__(self, model: ImageClassificationModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: tuple[Any, Any]) -> Tensor:
        """Computes the logits of graphs with their plan."""
        logits: Tensor = self.model(*inputs)
        return logits


def until_done(way: Any) -> None:
    """Calls a function and waits for the GPU."""
    way()
    torch.cuda.synchronize()


def steps(data: Split) -> list[list[str]]:
    """Measures milliseconds of a step and an inference, as rows."""
    torch.manual_seed(0)
    model = ImageClassificationModel.from_preset("base").to(DEVICE)
    images, labels = data.images[: BATCHES * BATCH_SIZE], data.labels[: BATCHES * BATCH_SIZE]
    graphs = [graph.to(DEVICE) for graph in graphs_of(model.vision, images, labels)]
    planned = [(graph, model.plan(graph)) for graph in graphs]
    maps = [[level.to(DEVICE) for level in lattice_maps(model.vision, part)] for part in images.split(BATCH_SIZE)]
    last = [[level.contiguous(memory_format=torch.channels_last) for level in part] for part in maps]
    twin = DenseTwin(copy.deepcopy(model)).to(DEVICE)
    relational = copy.deepcopy(model)
    relational.register_module("dag", RelationalTwin(relational.dag, RGCNConv).to(DEVICE))
    sides: dict[str, tuple[nn.Module, list[Any]]] = {
        "ours": (model, graphs),
        "ours, plan kept": (Planned(model), planned),
        "Conv2d": (twin, maps),
        "Conv2d, channels_last": (channels_last(twin), last),
        "RGCNConv": (relational, graphs),
    }
    classes = list(labels.to(DEVICE).split(BATCH_SIZE))
    tasks = {
        f"{name} {precision}": Task(copy.deepcopy(side), inputs, classes, dtype)
        for precision, dtype in PRECISIONS.items()
        for name, (side, inputs) in sides.items()
        if (name, precision) != ("RGCNConv", "bf16")
    }
    step = in_turn({name: partial(until_done, task) for name, task in tasks.items()}, turns=TURNS)
    inference = in_turn({name: partial(until_done, task.infer) for name, task in tasks.items()}, turns=TURNS)
    return [[name, f"{1e3 * step[name]:.1f}", f"{1e3 * inference[name]:.1f}"] for name in tasks]


def trained(data: Split) -> list[list[str]]:
    """Measures images a second in the last epoch, with loading in the same process, as rows."""
    rows = []
    for precision in TRAINED_IN:
        for batch_size in BATCH_SIZES:
            torch.manual_seed(0)
            model = ImageClassificationModel.from_preset("base")
            settings = TrainingSettings(EPOCHS, batch_size, precision=precision, device=DEVICE)
            history = fit(model, data.images[:IMAGES], data.labels[:IMAGES], settings=settings, verbose=False)
            rows.append([precision, str(batch_size), f"{history[-1]['graphs_per_second']:,.0f}"])
    return rows


def main() -> None:
    torch.set_float32_matmul_precision("high")
    data = load_mnist().train
    title = f"{BATCH_SIZE} MNIST digits, preset base, milliseconds on one {torch.cuda.get_device_name()}"
    show(title, ["", "training step", "inference"], steps(data))
    show("trained from pixels", ["precision", "batch size", "images a second"], trained(data))


if __name__ == "__main__":
    main()

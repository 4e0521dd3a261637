"""Three ways to make weights outlive a graph: what each stores, and what two of them learn.

    python benchmarks/weight_stores.py

1. A matrix for each edge type: the library's way.
2. A persistent template network, of which each sample's graph is a part: a matrix for each edge of the lattice of
   all cells. Counted, not trained: most of its edges occur in few digits, and it fits one image size only.
3. One matrix apart from any topology: here one for each pair of node types, whatever the relation.

Accuracy is on the last 5,000 training images of MNIST, after training on the first 10,000; the test set is not used.
"""

import argparse

import torch
from torch import Tensor
from torch_geometric.data import Batch

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.datasets import load_mnist
from grapheme_pyg.nn import DagNN


class UntypedBrain(VisionBrain):
    """Calls every relation between two node types by one name."""

    @property
    def metadata(self) -> tuple[list[str], list[tuple[str, str, str]]]:
        node_types, edge_types = super().metadata
        return node_types, list(dict.fromkeys((source, "any", target) for source, _, target in edge_types))

    def _build(self, pixels: Tensor, y: Tensor | None = None) -> Batch:
        batch = super()._build(pixels, y)
        merged = {edge_type: i for i, edge_type in enumerate(self.metadata[1])}
        number = [merged[source, "any", target] for source, _, target in super().metadata[1]]
        batch.edge_type = torch.tensor(number)[batch.edge_type]
        return batch


def count(model: DagNN) -> int:
    return sum(weight.numel() for weight in model.weight.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=4)
    arguments = parser.parse_args()
    data = load_mnist()
    images, labels = data.train
    results = []
    for name, vision in (("matrix for each edge type", VisionBrain()), ("matrix apart from topology", UntypedBrain())):
        torch.manual_seed(0)
        model = ImageClassificationModel(vision)
        settings = TrainingSettings(epochs=arguments.epochs)
        metrics = fit(
            model,
            images[:10_000],
            labels[:10_000],
            validation=(images[-5000:], labels[-5000:]),
            settings=settings,
        )
        results.append((name, count(model.dag), f"{100 * metrics[-1]['val_accuracy']:.2f} %"))

    # The graph of an image in which every cell is active, and the matrix of each of its edges.
    busy = (torch.arange(28)[:, None] + torch.arange(28)) % 2 * 255
    full = VisionBrain()(busy.to(torch.uint8))
    model = ImageClassificationModel(VisionBrain())
    width = torch.tensor(model.dag.hidden_channels)[full.node_type]
    source, target = full.edge_index
    results.insert(1, ("persistent template network", int((width[source] * width[target]).sum()), "not trained"))

    print(f"\n{'':30}{'weights on edges':>18}{'validation accuracy':>22}")
    for name, weights, accuracy in results:
        print(f"{name:30}{weights:>18,}{accuracy:>22}")


if __name__ == "__main__":
    main()

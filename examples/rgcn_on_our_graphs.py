"""Train PyG's relational layer on our graphs in a plain PyTorch loop, which depends only on the fields of the graphs.

python examples/rgcn_on_our_graphs.py --limit 5000
"""

import argparse
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # otherwise waiting threads spin

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader
from torch_geometric.nn import RGCNConv, global_mean_pool

from grapheme_pyg import VisionBrain
from grapheme_pyg.datasets import ImageDataset, ImageGraphDataset, load_mnist


class RGCN(nn.Module):
    """Relational graph convolutions (Schlichtkrull et al., 2018), with a layer for each generation of our graphs."""

    def __init__(self, in_channels: int, hidden_channels: int, num_relations: int, num_layers: int) -> None:
        super().__init__()
        widths = [in_channels, *[hidden_channels] * num_layers]
        self.convs = nn.ModuleList(
            RGCNConv(widths[i], widths[i + 1], num_relations, num_bases=30) for i in range(num_layers)
        )
        self.classify = nn.Linear(hidden_channels, 10)

    def forward(self, batch: Batch) -> Tensor:
        h = batch.x
        for conv in self.convs:
            h = conv(h, batch.edge_index, batch.edge_type).relu()
        logits: Tensor = self.classify(global_mean_pool(h, batch.batch, batch.num_graphs))
        return logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="folder with the IDX files (default: $GRAPHEME_DATA, else downloaded)")
    parser.add_argument("--limit", type=int, default=5000, help="training images (default: 5000)")
    parser.add_argument("--epochs", type=int, default=5, help="passes over them (default: 5)")
    arguments = parser.parse_args()
    data = load_mnist(arguments.data_dir)

    torch.manual_seed(0)
    vision = VisionBrain()
    images = ImageDataset(data.train.images[: arguments.limit], data.train.labels[: arguments.limit])
    loader = DataLoader(ImageGraphDataset(images, vision), batch_size=64, shuffle=True)
    model = RGCN(vision.num_features, 32, num_relations=len(vision.metadata[1]), num_layers=5)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for epoch in range(arguments.epochs):
        total = 0.0
        for batch in loader:
            loss = F.cross_entropy(model(batch), batch.y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * batch.num_graphs
        print(f"epoch {epoch + 1}  train loss {total / len(images):.4f}", flush=True)


if __name__ == "__main__":
    main()

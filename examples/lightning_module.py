"""Train the model with PyTorch Lightning, for projects that use its trainer, callbacks and loggers.

pip install pytorch-lightning
python examples/lightning_module.py --limit 2000 --epochs 2
"""

import argparse
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # otherwise waiting threads spin

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.datasets import ImageDataset, ImageGraphDataset, load_mnist


class Classifier(pl.LightningModule):
    def __init__(self, model: ImageClassificationModel, lr: float = 4e-3) -> None:
        super().__init__()
        self.model, self.lr = model, lr

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        return F.cross_entropy(self.model(batch), batch.y)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        accuracy = (self.model(batch).argmax(dim=1) == batch.y).float().mean()
        self.log("accuracy", accuracy, batch_size=batch.num_graphs, prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.model.parameters(), lr=self.lr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="folder with the IDX files (default: $GRAPHEME_DATA, else downloaded)")
    parser.add_argument("--limit", type=int, default=5000, help="training images (default: 5000)")
    parser.add_argument("--epochs", type=int, default=3, help="passes over them (default: 3)")
    arguments = parser.parse_args()
    data, limit = load_mnist(arguments.data_dir), arguments.limit
    torch.manual_seed(0)
    model = ImageClassificationModel.from_preset("tiny", data.classes)
    training, validation = (
        DataLoader(ImageGraphDataset(ImageDataset(*(values[part] for values in data.train)), model.vision), 64, shuffle)
        for part, shuffle in ((slice(limit), True), (slice(-1000, None), False))
    )
    trainer = pl.Trainer(max_epochs=arguments.epochs, logger=False, enable_checkpointing=False)
    trainer.fit(Classifier(model), training, validation)
    print(f"validation accuracy {100 * trainer.callback_metrics['accuracy']:.2f} %")


if __name__ == "__main__":
    main()

"""Train on MNIST or a data set of its family; each digit becomes its own graph, and all graphs share the weights.

    python examples/train_mnist.py
    python examples/train_mnist.py --epochs 3 --hidden 16 32 48 --accumulate 2
    torchrun --nnodes=2 --node-rank=0 --master-addr=HOST --nproc-per-node=1 examples/train_mnist.py

The last images of the training set are held out for validation. The test set is used once, on the final weights.
"""

import argparse
import logging
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # otherwise waiting threads spin

import torch

from grapheme_pyg import ImageClassificationModel, TrainingSettings
from grapheme_pyg.augmentation.warp import SHIFTS
from grapheme_pyg.cli.data import load
from grapheme_pyg.datasets import dataset_names
from grapheme_pyg.nn.classification_brain import TEMPLATE_UPDATES
from grapheme_pyg.presets import PRESETS
from grapheme_pyg.runs import new_run_dir, train_run
from grapheme_pyg.training.settings import (
    DEVICES,
    LOADERS,
    LOSSES,
    NONFINITE,
    OF_LARGE,
    OF_SMALL,
    OPTIMIZERS,
    PRECISIONS,
    SMALL,
)
from grapheme_pyg.vision.finder import FINDERS

DEFAULTS = TrainingSettings()


def parse_arguments() -> argparse.Namespace:
    """Parses options, which have the names of ``TrainingSettings`` where they mean the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    data = parser.add_argument_group("data")
    data.add_argument("--dataset", choices=dataset_names(), default="mnist", help="data set (default: mnist)")
    data.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="folder with its files (default: $GRAPHEME_DATA, else downloaded once into the cache)",
    )
    data.add_argument("--limit", type=int, metavar="N", help="use only N images of each part")
    data.add_argument("--transposed", action="store_true", help="exchange rows and columns, as EMNIST's images need")
    data.add_argument("--no-augment", action="store_true", help="train without augmentation")
    data.add_argument(
        "--robust",
        action=argparse.BooleanOptionalAction,
        help="also train on degraded images (default: if they are grey)",
    )

    model = parser.add_argument_group("model")
    model.add_argument("--preset", choices=tuple(PRESETS), default="base", help="size of the model (default: base)")
    model.add_argument("--mode", choices=tuple(FINDERS), default="grid", help="mode of the graphs (default: grid)")
    # The defaults of these are the preset's.
    model.add_argument("--rounds", type=int, nargs="+", metavar="R", help="rounds of a cell, by level")
    model.add_argument(
        "--hidden", dest="hidden_channels", type=int, nargs="+", metavar="C", help="width of states, by level"
    )
    model.add_argument("--margin", type=int, metavar="PX", help="margin of a cell, for its contrast")
    model.add_argument("--threshold", type=int, metavar="V", help="least contrast of a cell, in 0…255")
    model.add_argument("--norm", choices=("batch", "layer"))
    model.add_argument(
        "--templates", dest="templates_per_class", type=int, metavar="K", help="templates for each class"
    )
    model.add_argument("--template-update", choices=TEMPLATE_UPDATES, help="how templates learn (default: gradient)")

    training = parser.add_argument_group("training")
    both = zip(OF_LARGE[False], OF_SMALL[False], strict=True)
    defaults = [f"(default: {many}; {few} below {SMALL:,} images)" for many, few in both]
    training.add_argument("--epochs", type=int, metavar="N", help=f"passes {defaults[0]}")
    training.add_argument("--batch-size", type=int, metavar="N", help=f"graphs in a batch {defaults[1]}")
    training.add_argument(
        "--accumulate", type=int, default=DEFAULTS.accumulate, metavar="N", help="batches for one step (default: 1)"
    )
    training.add_argument("--loss", choices=LOSSES, default=DEFAULTS.loss, help="(default: %(default)s)")
    training.add_argument("--optimizer", choices=OPTIMIZERS, default=DEFAULTS.optimizer, help="(default: %(default)s)")
    training.add_argument("--lr", type=float, default=DEFAULTS.lr, help="peak learning rate (default: %(default)s)")
    training.add_argument("--kernel-lr", type=float, help="peak learning rate of Muon (default: 0.02, in colour 0.03)")
    training.add_argument(
        "--weight-decay", type=float, default=DEFAULTS.weight_decay, help="(default: 0.05, in colour 0.01)"
    )
    training.add_argument(
        "--label-smoothing", type=float, default=DEFAULTS.label_smoothing, help="(default: 0.1 in colour, else 0)"
    )
    training.add_argument(
        "--averaging",
        type=float,
        default=DEFAULTS.averaging,
        help="share of the steps over which weights are averaged (default: %(default)s)",
    )
    training.add_argument("--clip", type=float, default=DEFAULTS.clip, help="gradient norm (default: %(default)s)")
    training.add_argument("--seed", type=int, default=DEFAULTS.seed, help="seed of all random numbers (default: 0)")

    run = parser.add_argument_group("running")
    run.add_argument("--precision", choices=PRECISIONS, default=DEFAULTS.precision, help="(default: 32-true)")
    run.add_argument("--device", choices=DEVICES, default=DEFAULTS.device, help="(default: auto)")
    run.add_argument(
        "--loader",
        choices=LOADERS,
        default=DEFAULTS.loader,
        help="images: graphs of whole batches at once; pyg: one by one, in PyG's DataLoader (default: images)",
    )
    run.add_argument("--num-workers", type=int, default=0, metavar="N", help="loading processes (default: 0)")
    run.add_argument("--validate-only", action="store_true", help="do not use the test set, while choosing settings")
    run.add_argument(
        "--views",
        type=int,
        choices=range(1, len(SHIFTS) + 1),
        metavar="N",
        help=f"views of a test image to average over, 1…{len(SHIFTS)}: the image, its mirror image if training had "
        "mirror images, and shifted images (default: the image, with its mirror image if training had those)",
    )
    run.add_argument("--run-dir", metavar="DIR", help="folder for results (default: runs/<dataset>-<date>-<time>)")
    run.add_argument(
        "--resume",
        action="store_true",
        help="continue the run with the same options in --run-dir, or the newest one of this data set",
    )
    run.add_argument(
        "--checkpoint-every",
        type=int,
        default=DEFAULTS.checkpoint_every,
        metavar="N",
        help="steps between checkpoints within an epoch (default: %(default)s)",
    )
    run.add_argument(
        "--nonfinite", choices=NONFINITE, default=DEFAULTS.nonfinite, help="after a NaN loss (default: %(default)s)"
    )
    run.add_argument("--tensorboard", action="store_true", help="write TensorBoard logs, too")
    return parser.parse_args()


def given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Returns the options that were given."""
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def main() -> None:
    arguments = parse_arguments()
    logging.basicConfig(format="%(message)s")
    # Without a network, MNIST is replaced by a small part of it, under another name.
    data = load(
        arguments.dataset, arguments.data_dir, in_channels=None, limit=arguments.limit, transposed=arguments.transposed
    )
    chosen = vars(arguments) | {"augment": not arguments.no_augment}
    names = (field.name for field in fields(TrainingSettings))
    settings = TrainingSettings(**{name: chosen[name] for name in names if name in chosen})

    torch.manual_seed(settings.seed)
    model = ImageClassificationModel.from_preset(
        arguments.preset,
        data.classes,
        # Images of other sizes are later scaled to that of the training images.
        vision=given(arguments, "mode", "rounds", "margin", "threshold") | {"resize": data.size},
        **given(arguments, "hidden_channels", "norm", "templates_per_class", "template_update"),
        drawings=data.drawings,
    )
    run_dir = Path(arguments.run_dir or new_run_dir(data.name, resume=arguments.resume))
    train_run(
        model,
        data.training,
        data.validation,
        name=data.name,
        settings=settings,
        run_dir=run_dir,
        test=None if arguments.validate_only else data.test,
        views=arguments.views,
        resume=arguments.resume,
        tensorboard=arguments.tensorboard,
    )


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"train_mnist.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)

"""``grapheme train``: training on MNIST and its family, or on a folder of pictures."""

from pathlib import Path
from typing import Any, Literal

import torch

from grapheme_pyg.cli.data import load
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.runs import MODEL, check_outside, new_run_dir, train_run
from grapheme_pyg.training import TrainingSettings
from grapheme_pyg.training.fit import check_arguments
from grapheme_pyg.weights import find_pretrained


def train(
    data: str,
    *,
    data_dir: Path | None = None,
    val: Path | None = None,
    limit: int | None = None,
    size: int | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    transposed: bool = False,
    drawings: bool = False,
    preset: Literal["base", "small", "mini", "tiny"] = "base",
    mode: Literal["grid", "blob", "superpixel", "hybrid"] = "grid",
    colour: bool = False,
    grey: bool = False,
    hidden_channels: list[int] | None = None,
    init: Path | None = None,
    settings: TrainingSettings = TrainingSettings(),  # noqa: B008 - a value that never changes
    run_dir: Path | None = None,
    resume: bool = False,
    tensorboard: bool = False,
    test: bool = True,
) -> None:
    """Trains a model and saves it in a folder, with its settings, metrics and, if there are test images, a report.

    Args:
        data: ``mnist``, ``fashion_mnist``, ``kmnist``, ``emnist_letters`` or another split of EMNIST, ``mnist5k``,
            ``cifar10``, ``omniglot`` or a data set that an installed package offers; or a folder of IDX files; or a
            folder with a folder of pictures for each class, or with such folders called train, val or valid, and test.
        data_dir: Folder with the files of a data set; by default $GRAPHEME_DATA, else they are downloaded once.
        val: Folder of pictures for validation; by default the last tenth of each class.
        limit: Use only this many images for training, for validation and for testing each, with the same proportions of
            classes.
        size: Longer side of pictures in pixels, to which training and the trained model scale them; by default the
            median of the pictures, but at most 224.
        on_error: Stop at pictures that cannot be read, or leave them out.
        transposed: Whether the images are stored with rows and columns exchanged, like EMNIST's.
        drawings: Whether each image shows a single drawing in MNIST's form, as those of MNIST and EMNIST are
            known to do; the model then looks for drawings in larger pictures.
        preset: Size of the model.
        mode: How to find the entities of images.
        colour: Whether to use colour in any case; by default colour is used if the images have it.
        grey: Whether to ignore colour in any case.
        hidden_channels: Width of the states of each level; by default the preset's.
        init: Folder of a trained model to start from, whatever its classes; it determines mode, colour and sizes.
        settings: How to train.
        run_dir: Folder for the results; by default runs/<data>-<date>-<time>.
        resume: Continue the run with the same options in run_dir, or the newest run on these data.
        tensorboard: Whether to write TensorBoard logs, too.
        test: Whether to evaluate the model on the test images at the end.
    """
    if run_dir is not None:
        for pictures in (Path(data), *([] if val is None else [val])):
            check_outside("run_dir", run_dir, pictures)
        if init is not None and (run_dir / MODEL).resolve() == find_pretrained(init).resolve():
            raise ValueError(f"run_dir: expected another folder than that of init, got {run_dir}")
    start = None if init is None else ImageClassificationModel.from_pretrained(init)
    if colour and (grey or drawings):
        raise ValueError("colour: expected neither grey nor drawings with it, got one of them")
    in_channels = 3 if colour else 1 if grey or drawings else None
    if start is not None:
        of_model = (preset, mode, colour, grey, hidden_channels, size, drawings)
        if of_model != ("base", "grid", False, False, None, None, False):
            names = "preset, mode, colour, grey, hidden_channels, size and drawings"
            raise ValueError(f"init: expected none of {names} with it, got one of them")
        in_channels, size = start.vision.in_channels, start.vision.longer_side
    found = load(data, data_dir, in_channels, limit, size=size, val=val, on_error=on_error, transposed=transposed)
    torch.manual_seed(settings.seed)
    if start is not None:
        model = start.with_classes(found.classes)
    else:
        chosen: dict[str, Any] = {} if hidden_channels is None else {"hidden_channels": hidden_channels}
        resize = found.size or "training"
        vision = {"mode": mode, "in_channels": found.in_channels, "resize": resize, "white": found.white}
        chosen["drawings"] = drawings or (found.drawings and found.in_channels == 1)
        model = ImageClassificationModel.from_preset(preset, found.classes, vision=vision, **chosen)
    check_arguments(model, found.validation, settings, run_dir)
    if run_dir is None:
        run_dir = new_run_dir(found.name, resume=resume, outside=Path(data))
    train_run(
        model,
        found.training,
        found.validation,
        name=found.name,
        settings=settings,
        run_dir=run_dir,
        test=found.test if test else None,
        resume=resume,
        tensorboard=tensorboard,
    )

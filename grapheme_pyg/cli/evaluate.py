"""``grapheme evaluate``: the accuracy of a model on test images."""

from json import dumps
from pathlib import Path
from typing import Literal

from grapheme_pyg.cli.data import load_taught, load_test
from grapheme_pyg.evaluation import evaluate as evaluated
from grapheme_pyg.names import say
from grapheme_pyg.runs import check_outside


def evaluate(
    model: Path,
    data: str,
    *,
    data_dir: Path | None = None,
    limit: int | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    transposed: bool = False,
    views: int | None = None,
    report: Path | None = None,
    json: bool = False,
) -> None:
    """Measures the accuracy of a model on test images.

    Args:
        model: Folder of a model, or the name of one that comes with the package.
        data: The name of a data set, as for ``grapheme train``, or a folder of IDX files, for their test images; or a
            folder with a folder of pictures for each class, for its part called test or, without one, for all of them.
            Classes are matched by their names.
        data_dir: Folder with the files of a data set; by default $GRAPHEME_DATA, else they are downloaded once.
        limit: Use only this many images, with the same proportions of classes.
        on_error: Stop at pictures that cannot be read, or leave them out.
        transposed: Whether the images are stored with rows and columns exchanged, like EMNIST's.
        views: Number of views of each image to average over, 1 to 9: the image, its mirror image if training had mirror
            images, and shifted images. By default the image, with its mirror image if training had those.
        report: Folder for a report with pictures.
        json: Whether to print all figures as a JSON object.
    """
    if report is not None:
        check_outside("report", report, Path(data))
    network = load_taught(model)
    images, labels = load_test(
        data,
        network.classes,
        data_dir,
        network.vision.in_channels,
        limit,
        size=network.vision.longer_side,
        white=network.vision.white,
        on_error=on_error,
        transposed=transposed,
    )
    if report is not None:
        from grapheme_pyg.runs import evaluate_run  # matplotlib takes a second

        evaluate_run(network, images, labels, name=data, folder=report, views=views)
    found = evaluated(network.predict(images, views=views).probabilities, labels)
    if json:
        print(dumps(found.summary(), indent=2, allow_nan=False))
        return
    say(f"{data}: {found.num_images:,} images, {found.num_mistakes:,} mistakes")
    print(f"accuracy {100 * found.accuracy:.2f} %, loss {found.loss:.4f}, ", end="")
    print(f"calibration error {100 * found.calibration_error:.2f} %")
    if report is not None:
        say(str(report / "report.md"))

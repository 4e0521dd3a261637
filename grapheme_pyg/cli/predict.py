"""``grapheme predict``: the classes of pictures."""

import csv
import glob
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from json import dumps
from pathlib import Path
from typing import Any, TextIO

from torch import Tensor

from grapheme_pyg.checks import as_int
from grapheme_pyg.cli.data import load_taught, read_drawings
from grapheme_pyg.cli.outputs import check_output
from grapheme_pyg.datasets.folder_layout import find_pictures
from grapheme_pyg.errors import ImageError
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.names import in_csv, say
from grapheme_pyg.progress_bar import progress_bar
from grapheme_pyg.vision.image_batches import PIXELS_AT_ONCE

# Number of pictures that are classified together.
AT_ONCE = 64

Answer = dict[str, Any]


def predict(
    model: Path,
    *files: Path,
    json: bool = False,
    json_lines: Path | None = None,
    csv: Path | None = None,
    top_k: int | None = None,
    as_mnist: bool = False,
    find: bool = True,
    views: int | None = None,
    reject: float | None = None,
) -> int:
    """Classifies pictures.

    Args:
        model: Folder of a model, or the name of one that comes with the package.
        files: Pictures in BMP, GIF, JPEG, PNG, PPM, TIFF, WebP, AVIF or HEIC files; folders, for all pictures in them
            and in the folders within; or patterns such as *.png.
        json: Whether to print a JSON list of objects with the file, label, confidence and runner-up, and the box of a
            drawing that was found.
        json_lines: File for such objects, one on each line, written as they are ready; nothing is printed then.
        csv: File for a table of the answers, written as they are ready; nothing is printed then.
        top_k: Number of classes to report for each picture, the most probable first; by default two.
        as_mnist: Whether pictures are photographs or drawings of single digits, to be cropped, scaled and centred like
            MNIST's digits.
        find: Whether to look for drawings on larger pictures, if the model is for drawings. Several drawings on one
            sheet are classified one by one.
        views: Number of views of each picture to average over, 1 to 9: the picture, its mirror image if training had
            mirror images, and shifted pictures. By default the picture, with its mirror image if training had those.
        reject: Share of familiar pictures that may be refused, in [0, 1). Unfamiliar pictures then get no label.

    Returns:
        1 if a file could not be read or is a blank sheet, as reported on standard error; else 0.
    """
    pictures = list(_find(files))
    if csv is not None and json_lines is not None and csv.resolve() == json_lines.resolve():
        raise ValueError(f"csv: expected another file than json_lines, got {csv}")
    for name, path in (("json_lines", json_lines), ("csv", csv)):
        if path is not None:
            check_output(name, path, model, *pictures)
    network = load_taught(model)
    num_classes = len(network.classes)
    number = min(2, num_classes) if top_k is None else as_int("top_k", top_k, 1, num_classes)
    quiet = json or csv is not None or json_lines is not None
    failed = 0
    kept: list[Answer] = []
    with ExitStack() as stack:
        bar = stack.enter_context(progress_bar(len(pictures), "pictures", verbose=quiet))
        parts = _answers(network, pictures, number, as_mnist=as_mnist, find=find, views=views, reject=reject)
        # If an argument is refused, that happens here, before the files lose what was in them.
        first = next(parts)
        lines = None if json_lines is None else stack.enter_context(_open(json_lines))
        rows = None if csv is None else stack.enter_context(_open(csv))
        table = None if rows is None else _Table(rows, number)
        for answers in chain([first], parts):
            bar.update(len({answer["file"] for answer in answers}))
            for answer in answers:
                if "error" in answer:
                    failed += 1
                    say(f"grapheme predict: {answer['error']}", error=True)
                if lines is not None:
                    lines.write(dumps(_as_json(answer, extended=top_k is not None), allow_nan=False) + "\n")
                if table is not None:
                    table.write(answer)
                if json:
                    kept.append(_as_json(answer, extended=top_k is not None))
                elif not quiet and "error" not in answer:
                    say(_line(answer))
            for file in (lines, rows):
                if file is not None:
                    file.flush()
    if json:
        print(dumps(kept, indent=2, allow_nan=False))
    return int(failed > 0)


def _find(files: Iterable[Path]) -> Iterator[Path]:
    """Expands folders and patterns to pictures; not every console expands patterns itself."""
    for file in files:
        pattern = str(file)
        matching: list[str] = []
        if glob.has_magic(pattern) and not file.exists():
            matching = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute patterns
        for path in [Path(name) for name in matching] or [file]:
            yield from (find_pictures(path) or [path]) if path.is_dir() else [path]


def _answers(
    network: ImageClassificationModel,
    pictures: list[Path],
    number: int,
    *,
    as_mnist: bool,
    find: bool,
    views: int | None,
    reject: float | None,
) -> Iterator[list[Answer]]:
    """Classifies pictures in order and some at a time, so that memory does not grow with their number."""
    found: list[Answer] = []
    images: list[Tensor] = []
    for file in pictures:
        try:
            if file.is_dir():
                raise ImageError(f"{file}: expected pictures in this folder, got none")
            for image, box in read_drawings(network, file, as_mnist=as_mnist, find=find):
                found.append({"file": str(file)} if box is None else {"file": str(file), "box": list(box)})
                images.append(image)
        except (ImageError, OSError) as error:
            found.append({"file": str(file), "error": " ".join(str(error).split())})
        if len(found) >= AT_ONCE or sum(image[0].numel() for image in images) >= PIXELS_AT_ONCE:
            yield _answered(network, found, images, number, views, reject)
            found, images = [], []
    yield _answered(network, found, images, number, views, reject)


def _answered(
    network: ImageClassificationModel,
    found: list[Answer],
    images: list[Tensor],
    number: int,
    views: int | None,
    reject: float | None,
) -> list[Answer]:
    if images:
        prediction = network.predict(images, views=views, reject=reject, find_drawings=False, verbose=False)
        best = prediction.probabilities.topk(number)
        good = [answer for answer in found if "error" not in answer]
        for i, answer in enumerate(good):
            answer |= {"label": prediction.labels[i], "confidence": float(prediction.confidences[i])}
            if prediction.reasons[i] is not None:
                answer["reason"] = prediction.reasons[i]
            names = [network.classes[place] for place in best.indices[i].tolist()]
            answer["top"] = [
                {"label": name, "confidence": value} for name, value in zip(names, best.values[i].tolist(), strict=True)
            ]
    return found


def _as_json(answer: Answer, *, extended: bool) -> Answer:
    """Returns an answer as a JSON object, with the runner-up or, if extended, a list of classes."""
    if "error" in answer:
        return answer
    shown = {name: value for name, value in answer.items() if name != "top"}
    if extended:
        return shown | {"top": answer["top"]}
    return shown | ({"runner_up": answer["top"][1]} if len(answer["top"]) > 1 else {})


def _line(answer: Answer) -> str:
    box = ""
    if "box" in answer:
        left, top, right, bottom = answer["box"]
        box = f" at {left}, {top} to {right}, {bottom}"
    if "reason" in answer:
        return f"{answer['file']}{box}: {answer['reason']}"
    label = f"refused, nearest {answer['top'][0]['label']}" if answer["label"] is None else answer["label"]
    line = f"{answer['file']}{box}: {label} ({100 * answer['confidence']:.1f} %)"
    others = [f"{other['label']} ({100 * other['confidence']:.1f} %)" for other in answer["top"][1:]]
    return ", then ".join([line, *others])


def _open(path: Path) -> TextIO:
    return path.open("w", newline="", encoding="utf-8", errors="backslashreplace")


class _Table:
    """Writes answers as rows of a CSV file."""

    def __init__(self, file: TextIO, number: int) -> None:
        others = [f"{name}_{i}" for i in range(2, number + 1) for name in ("label", "confidence")]
        self._writer = csv.DictWriter(file, ["file", "label", "confidence", *others, "box", "reason", "error"])
        self._writer.writeheader()

    def write(self, answer: Answer) -> None:
        """Writes a row."""
        row = {name: value for name, value in answer.items() if name != "top"}
        for i, other in enumerate(answer.get("top", [])[1:], 2):
            row |= {f"{name}_{i}": value for name, value in other.items()}
        if "box" in row:
            row["box"] = " ".join(map(str, row["box"]))
        self._writer.writerow({name: in_csv(value) if isinstance(value, str) else value for name, value in row.items()})

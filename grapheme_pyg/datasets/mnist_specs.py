"""Specifications of MNIST and its relatives: their mirrors, and the contents of their IDX files."""

from __future__ import annotations

import string
from dataclasses import dataclass

# Training images, training labels, test images, test labels: the order of every four-tuple here.
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@dataclass(frozen=True)
class IdxSpec:
    """A data set of images that consists of four IDX files.

    Attributes:
        name: Short name; also the name of its folder.
        classes: The names of the classes, in the order of the labels.
        mirrors: Addresses of folders that serve the four files, gzipped; none if the set is published in another form.
        counts: The numbers of training and test images.
        size: Height and width of every image.
        sha256: SHA-256 of the uncompressed files, where known.
        archive_md5: MD5 of the gzipped files as the mirrors serve them, where known.
        files: Names of the four files.
        first_label: The label of the first class in the files.
        drawings: Whether each image shows a single drawing in MNIST's form.
    """

    name: str
    classes: tuple[str, ...]
    mirrors: tuple[str, ...]
    counts: tuple[int, int] = (60_000, 10_000)
    size: tuple[int, int] = (28, 28)
    sha256: tuple[str, str, str, str] | None = None
    archive_md5: tuple[str, str, str, str] | None = None
    files: tuple[str, str, str, str] = FILES
    first_label: int = 0
    drawings: bool = False


DIGITS = tuple("0123456789")

MNIST = IdxSpec(
    name="mnist",
    classes=DIGITS,
    drawings=True,
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    sha256=(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)

FASHION_MNIST = IdxSpec(
    name="fashion_mnist",
    classes=("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    archive_md5=(
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
)

KMNIST = IdxSpec(
    name="kmnist",
    classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    mirrors=("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
    archive_md5=(
        "bdb82020997e1d708af4cf47b453dcf7",
        "e144d726b3acfaa3e44228e80efcd344",
        "5c965bf0a639b31b8f53240b1b52f4d7",
        "7320c461ea6c1c855c0b718fb2a4b134",
    ),
)

# The page on which EMNIST is published, as one archive of all its splits.
EMNIST_PAGE = "https://www.nist.gov/itl/products-and-services/emnist-dataset"
# Lower-case letters that look like upper-case letters share their classes.
_MERGED = (*DIGITS, *string.ascii_uppercase, *"abdefghnqrt")


def _emnist(split: str, classes: tuple[str, ...], counts: tuple[int, int], first_label: int = 0) -> IdxSpec:
    train, test = (f"emnist-{split}-{part}" for part in ("train", "test"))
    images, labels = "images-idx3-ubyte", "labels-idx1-ubyte"
    files = (f"{train}-{images}", f"{train}-{labels}", f"{test}-{images}", f"{test}-{labels}")
    return IdxSpec(f"emnist_{split}", classes, (), counts, files=files, first_label=first_label, drawings=True)


EMNIST = (
    _emnist("letters", tuple(string.ascii_lowercase), (124_800, 20_800), first_label=1),
    _emnist("digits", DIGITS, (240_000, 40_000)),
    _emnist("balanced", _MERGED, (112_800, 18_800)),
    _emnist("byclass", (*DIGITS, *string.ascii_uppercase, *string.ascii_lowercase), (697_932, 116_323)),
    _emnist("bymerge", _MERGED, (697_932, 116_323)),
    _emnist("mnist", DIGITS, (60_000, 10_000)),
)

SPECS = {spec.name: spec for spec in (MNIST, FASHION_MNIST, KMNIST, *EMNIST)}

"""What is known about each IDX set: where it is published and what its files must contain."""

from __future__ import annotations

from dataclasses import dataclass

# Train images, train labels, test images, test labels: the order of every four-tuple here.
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@dataclass(frozen=True)
class IdxSpec:
    """One image set kept as four IDX files.

    Attributes:
        name: Short name; also the name of its folder.
        classes: The name of every class, in the order of the labels.
        mirrors: Addresses of folders that serve the four files, gzipped.
        counts: How many training and test images there are.
        size: Height and width of every image.
        sha256: SHA-256 of the uncompressed files, where known.
        archive_md5: MD5 of the gzipped files as the mirrors serve them, where known.
    """

    name: str
    classes: tuple[str, ...]
    mirrors: tuple[str, ...]
    counts: tuple[int, int] = (60_000, 10_000)
    size: tuple[int, int] = (28, 28)
    sha256: tuple[str, str, str, str] | None = None
    archive_md5: tuple[str, str, str, str] | None = None


DIGITS = tuple("0123456789")

MNIST = IdxSpec(
    name="mnist",
    classes=DIGITS,
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
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
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

SPECS = {spec.name: spec for spec in (MNIST, FASHION_MNIST, KMNIST)}

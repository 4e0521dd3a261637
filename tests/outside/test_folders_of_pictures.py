"""Folders of pictures as people have them: split beforehand, sorted by class, from other systems, with broken files."""

import logging
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from console import run
from PIL import Image

from grapheme_pyg import ImageClassificationModel, TrainingSettings, fit
from grapheme_pyg.cli.data import load, load_test
from grapheme_pyg.datasets import ImageFiles, load_image_folder, read_image
from grapheme_pyg.datasets.image_reading import read_header
from grapheme_pyg.errors import CheckpointError, DatasetError, ImageError
from grapheme_pyg.labels import match_classes, spread

QUICK = ("--preset", "tiny", "--settings.epochs", "1", "--settings.batch_size", "8")


def write(path: Path, size: tuple[int, int] = (28, 28), seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    # Pillow knows no .jpe and .jfif when it writes.
    Image.fromarray(pixels).save(path, "JPEG" if path.suffix.startswith(".j") else None)
    return path


def write_classes(folder: Path, **counts: int) -> Path:
    for name, count in counts.items():
        for i in range(count):
            write(folder / name / f"{i:03}.png", seed=i)
    return folder


class TestLimits:
    def test_of_each_class_its_share_but_at_least_one(self) -> None:
        """keras-preprocessing#205."""
        labels = torch.tensor([0] * 40 + [1] * 40 + [2] * 40)
        assert labels[spread(labels, 30)].bincount().tolist() == [10, 10, 10]
        labels = torch.tensor([2] + [0] * 6 + [1] * 3)
        assert spread(labels, 5).tolist() == [0, 1, 2, 3, 7]
        assert spread(labels, 99).tolist() == list(range(10))
        with pytest.raises(ValueError, match="limit: expected at least one image for each of 3 classes, got 2"):
            spread(labels, 2)

    def test_of_a_folder(self, tmp_path: Path) -> None:
        """keras-preprocessing#48."""
        data = load(str(write_classes(tmp_path, bar=20, cross=20, dash=20)), None, 1, limit=6)
        assert data.training.labels.tolist() == data.validation.labels.tolist() == [0, 0, 1, 1, 2, 2]
        assert [path.parent.name for path in data.training.images.paths] == ["bar"] * 2 + ["cross"] * 2 + ["dash"] * 2
        part = load_test(str(tmp_path), ["dash", "cross", "bar"], None, 1, limit=6)
        assert part.labels.tolist() == [2, 2, 1, 1, 0, 0]


class TestSplits:
    @pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "valid", "Testing")])
    def test_folders_for_training_validation_and_test(self, tmp_path: Path, names: tuple[str, str, str]) -> None:
        """Ultralytics' and timm's layout."""
        for name, count in zip(names, (4, 2, 3), strict=True):
            write_classes(tmp_path / name, cat=count, dog=count)
        (tmp_path / "annotations").mkdir()
        (tmp_path / "annotations/all.json").write_text("{}")
        folder = load_image_folder(tmp_path, 1)
        assert folder.classes == ("cat", "dog")
        training, validation = folder.split()
        assert folder.test is not None
        for part, name, count in zip((training, validation, folder.test), names, (4, 2, 3), strict=True):
            assert part.labels.tolist() == [0] * count + [1] * count
            assert {path.parent.parent.name for path in part.images.paths} == {name}
        found = load(str(tmp_path), None, 1)
        assert [len(part.labels) for part in (found.training, found.validation, found.test)] == [8, 4, 6]
        assert len(load_test(str(tmp_path), ["dog", "cat"], None, 1).labels) == 6

    def test_the_last_tenth_is_for_validation_where_there_is_no_such_folder(self, tmp_path: Path) -> None:
        write_classes(tmp_path / "train", cat=20, dog=10)
        write_classes(tmp_path / "test", cat=1)
        folder = load_image_folder(tmp_path)
        assert [len(part) for part in folder.split()] == [27, 3]
        assert folder.test is not None
        assert folder.test.labels.tolist() == [0]

    @pytest.mark.parametrize(
        ("training", "test", "others"),
        [
            ("seg_train/seg_train", "seg_test/seg_test", ("seg_pred/seg_pred/1.png",)),
            ("training_set", "test_set", ()),
            ("train/images", "test/images", ()),
            ("data/train", "data/test", ("data/val/1.png", "data/unlabelled/2.png")),
            ("train", "evaluation", ("test/1.png", "train/stray.png", "extra/3.png")),
        ],
    )
    def test_other_layouts_of_parts(
        self, tmp_path: Path, training: str, test: str, others: tuple[str, ...], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Ultralytics' and timm's layout, and what is made of it elsewhere."""
        write_classes(tmp_path / training, hut=3, vale=3)
        write_classes(tmp_path / test, hut=1, vale=1)
        for other in others:
            write(tmp_path / other)
        folder = load_image_folder(tmp_path)
        assert (folder.classes, len(folder)) == (("hut", "vale"), 6)
        assert folder.test is not None
        assert len(folder.test) == 2
        assert all(part in caplog.text for part in {Path(other).parent.name for other in others} - {"train"})

    def test_a_folder_around_the_classes(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        write_classes(tmp_path / "archive/pets", cat=1, dog=1)
        assert load_image_folder(tmp_path).classes == ("cat", "dog")
        assert "the folders in pets are taken for classes" in caplog.text

    def test_classes_that_training_lacks_are_refused(self, tmp_path: Path) -> None:
        write_classes(tmp_path / "train", cat=2, dog=2)
        write_classes(tmp_path / "test", cat=1, horse=1)
        with pytest.raises(ValueError, match=r"test: expected .* training .*\['cat', 'dog'\], got \['cat', 'horse'\]"):
            load_image_folder(tmp_path)

    def test_a_class_may_be_called_train(self, tmp_path: Path) -> None:
        assert load_image_folder(write_classes(tmp_path, train=1, tram=1)).classes == ("train", "tram")
        assert load_image_folder(write_classes(tmp_path / "two", train=1, test=1)).classes == ("test", "train")

    def test_folders_that_look_like_parts_are_told_of(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        for name in ("fold1", "fold2"):
            write_classes(tmp_path / name, cat=1, dog=1)
        assert load_image_folder(tmp_path).classes == ("fold1", "fold2")
        assert "'fold1', 'fold2' are taken for classes, though each has the folders 'cat', 'dog'" in caplog.text

    def test_a_folder_for_validation(self, tmp_path: Path) -> None:
        write_classes(tmp_path / "pictures", a=4, b=4)
        write_classes(tmp_path / "held-out", b=2)
        data = load(str(tmp_path / "pictures"), None, 1, val=tmp_path / "held-out")
        assert (data.training.labels.tolist(), data.validation.labels.tolist()) == ([0] * 4 + [1] * 4, [1, 1])
        write_classes(tmp_path / "held-out", c=1)
        with pytest.raises(ValueError, match=r"val: expected .*\['a', 'b'\], got \['b', 'c'\]"):
            load(str(tmp_path / "pictures"), None, 1, val=tmp_path / "held-out")
        with pytest.raises(ValueError, match="val: expected another folder than that of the training pictures"):
            load(str(tmp_path / "pictures"), None, 1, val=tmp_path / "pictures")


class TestWhatIsNoPicture:
    def test_folders_of_systems_and_other_files(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        write_classes(tmp_path, cat=2)
        for name in ("__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", ".ipynb_checkpoints", "cat/@eaDir"):
            write(tmp_path / name / "thumbnail.png")
        for name in ("cat/notes.txt", "cat/film.mp4", "cat/more.txt", "cat/README", "labels.csv", "cat/Thumbs.db"):
            (tmp_path / name).write_text("no picture")
        folder = load_image_folder(tmp_path)
        assert (folder.classes, len(folder)) == (("cat",), 2)
        assert "left out 5 files that are not pictures: 2 .txt, " in caplog.text
        assert "1 without a suffix" in caplog.text
        assert "1 outside of the folders of classes" in caplog.text

    @pytest.mark.parametrize("suffix", [".jpg", ".jpe", ".jfif", ".JPEG", ".avif"])
    def test_suffixes(self, tmp_path: Path, suffix: str) -> None:
        write(tmp_path / f"cat/1{suffix}")
        assert load_image_folder(tmp_path, 1).images[0].shape == (1, 28, 28)

    def test_what_cannot_be_read_here_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        content = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
        monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
        (tmp_path / "cat").mkdir()
        (tmp_path / "cat/IMG_1.HEIC").write_bytes(content)
        with pytest.raises(ImageError, match="got HEIF, which needs the package pillow-heif"):
            read_image(tmp_path / "cat/IMG_1.HEIC")
        with pytest.raises(DatasetError, match=r"1 that cannot, the first: .*IMG_1.HEIC: .*pillow-heif"):
            load_image_folder(tmp_path)

    def test_names_in_another_normal_form(self, tmp_path: Path) -> None:
        """pytorch#22566: macOS stores an é as two characters."""
        composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
        write_classes(tmp_path, **{composed: 1, decomposed: 2})
        assert load_image_folder(tmp_path).classes == (composed,)
        assert match_classes([decomposed], ["bar", composed]).tolist() == [1]
        model = ImageClassificationModel.from_preset("tiny", [composed, "x"])
        with pytest.raises(ValueError, match="distinct names"):
            ImageClassificationModel.from_preset("tiny", [composed, decomposed])
        model.remember(torch.rand(2, 28, 28), [decomposed, "x"])
        model.add_class(decomposed, torch.rand(2, 28, 28))
        assert model.classes == [composed, "x"]


class TestBrokenFiles:
    def cut(self, path: Path) -> Path:
        path.write_bytes(path.read_bytes()[:-40])
        return path

    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".gif", ".bmp", ".tif"])
    def test_an_end_that_is_missing_is_found_before_training(self, tmp_path: Path, suffix: str) -> None:
        """beginners-pytorch-deep-learning#17."""
        whole = write(tmp_path / f"a/1{suffix}", (60, 50))
        assert read_header(whole)[:2] == (60, 50)
        self.cut(write(tmp_path / f"b/1{suffix}", (60, 50)))
        with pytest.raises(DatasetError, match=re.escape(f"1 that cannot, the first: {tmp_path}/b/1{suffix}: ")):
            load_image_folder(tmp_path)
        assert load_image_folder(tmp_path, on_error="skip").classes == ("a",)

    def test_headers_know_how_a_picture_is_shown(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("L", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
        assert read_header(tmp_path / "turned.jpg")[:2] == (30, 20)
        assert read_image(tmp_path / "turned.jpg", 1).shape == (1, 30, 20)

    def test_left_out_on_request(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """stylegan2-pytorch#7."""
        write_classes(tmp_path / "p", a=6, b=6)
        self.cut(tmp_path / "p/b/003.png")
        code, _, err = run(capsys, "train", tmp_path / "p", *QUICK, "--run_dir", tmp_path / "r")
        assert (code, err.count("\n"), (tmp_path / "r").exists()) == (1, 1, False)
        assert "p/b/003.png" in err
        assert load_image_folder(tmp_path / "p", on_error="skip").labels.tolist() == [0] * 6 + [1] * 5
        assert "left out 1 files that cannot be read" in caplog.text

    def test_those_that_break_later_stop_training_or_are_skipped(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """stylegan2-pytorch#7."""
        folder = load_image_folder(write_classes(tmp_path, a=5, b=5), 1)
        self.cut(tmp_path / "b/003.png")
        settings = TrainingSettings(epochs=1, batch_size=5)
        with pytest.raises(ImageError, match=r"b/003\.png"):
            fit(ImageClassificationModel.from_preset("tiny", 2), folder.images, folder.labels, settings=settings)
        images = ImageFiles(folder.images.paths, 1, on_error="skip")
        model = ImageClassificationModel.from_preset("tiny", 2)
        with caplog.at_level(logging.WARNING):
            fit(model, images, folder.labels, settings=settings, verbose=False)
            model.remember(images, folder.labels)
            model.calibrate(images, folder.labels)
        assert model.classifier.memory is not None
        assert len(model.classifier.memory.keys) == 9
        assert "b/003.png" in caplog.text
        # Answers belong to pictures: none is left out.
        with pytest.raises(ImageError, match=r"b/003\.png"):
            model.predict(images)

    @pytest.mark.parametrize("change", ["lost", "gained", "renamed"])
    def test_a_run_whose_folder_has_changed_says_what_to_do(self, tmp_path: Path, change: str) -> None:
        """stylegan2-pytorch#7."""
        write_classes(tmp_path / "p", a=4, b=4)
        settings = TrainingSettings(epochs=1, batch_size=4)

        def train(*, resume: bool = False) -> None:
            torch.manual_seed(0)
            folder = load_image_folder(tmp_path / "p", 1)
            model = ImageClassificationModel.from_preset("tiny", 2)
            options = {"settings": settings, "run_dir": tmp_path / "r", "verbose": False}
            fit(model, folder.images, folder.labels, resume=resume, **options)

        train()
        train(resume=True)
        if change == "gained":
            write(tmp_path / "p/b/new.png")
        elif change == "lost":
            (tmp_path / "p/b/003.png").unlink()
        else:
            (tmp_path / "p/b/003.png").rename(tmp_path / "p/b/004.png")
        expected = {"lost": "1 fewer images", "gained": "1 more images", "renamed": "other images"}[change]
        with pytest.raises(
            CheckpointError, match=f"there are {expected} now: restore the images .* or start a new run in"
        ):
            train(resume=True)

    def test_motion_photographs(self, tmp_path: Path) -> None:
        """A film behind a picture has bytes that look like scans."""
        picture = write(tmp_path / "a/1.jpg")
        expected = read_image(picture, 1)
        picture.write_bytes(picture.read_bytes() + b"ftypmp42" + b"\xff\xda" * 10_000)
        assert torch.equal(read_image(picture, 1), expected)
        assert read_header(picture)[:2] == (28, 28)


class TestPlaces:
    def test_the_folder_that_one_stands_in(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pictures = write_classes(tmp_path / "pets", cat=4, dog=4)
        monkeypatch.chdir(pictures)
        monkeypatch.setattr("grapheme_pyg.cli.train.train_run", lambda *_, name, run_dir, **__: print(name, run_dir))
        code, out, _ = run(capsys, "train", ".", *QUICK)
        assert code == 0
        assert out.startswith(f"pets {tmp_path / 'runs/pets-'}")
        code, _, err = run(capsys, "train", ".", *QUICK, "--run_dir", "results")
        assert code == 1
        assert "run_dir: expected a folder outside of the pictures in ., got results" in err

    def test_a_folder_with_the_name_of_a_set(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_classes(tmp_path / "mnist5k", cat=4, dog=4)
        monkeypatch.chdir(tmp_path)
        assert load("./mnist5k", None, 1).classes == ["cat", "dog"]
        capsys.readouterr()
        assert load("mnist5k", None, 1).classes == list("0123456789")
        assert "'mnist5k' is taken for the data set, not for the folder" in capsys.readouterr().err

    def test_results_are_named_after_the_picture(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ImageClassificationModel.from_preset("tiny", 2).save_pretrained(tmp_path / "model")
        write(tmp_path / "p/1.png")
        monkeypatch.chdir(tmp_path / "p")
        before = Path("1.png").read_bytes()
        assert run(capsys, "explain", tmp_path / "model", "1.png")[0] == 0
        assert run(capsys, "draw", tmp_path / "model", "--image", "1.png")[0] == 0
        assert {path.name for path in Path.cwd().iterdir()} == {"1.png", "1-explanation.png", "1-drawing.png"}
        assert Path("1.png").read_bytes() == before

    def test_classes_that_cannot_be_saved_are_refused_before_training(self) -> None:
        with pytest.raises(ValueError, match=r"classes: expected names without control characters, got 'a\\tb'"):
            ImageClassificationModel.from_preset("tiny", ["a\tb", "c"])

    def test_a_size_is_settled(self, tmp_path: Path) -> None:
        for i, size in enumerate([(20, 30), (40, 10), (50, 60)]):
            write(tmp_path / f"p/a/{i}.png", size)
        folder = load_image_folder(tmp_path / "p", 1)
        assert folder.sizes.tolist() == [[20, 30], [40, 10], [50, 60]]
        assert folder.typical_size() == 40
        assert folder.typical_size(28) == 28
        assert [image.shape for image in folder.resized(20).images] == [(1, 13, 20), (1, 20, 5), (1, 17, 20)]
        write(tmp_path / "p/a/3.png", (50, 60))
        write_classes(tmp_path / "p", b=2)
        data = load(str(tmp_path / "p"), None, 1, size=12)
        assert (data.size, max(data.training.images[0].shape)) == (12, 12)

"""What the page does with classes that are taught, without the page."""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from console import run
from PIL import Image, ImageDraw
from torch import Tensor

from grapheme_pyg import ImageClassificationModel

if TYPE_CHECKING:
    from grapheme_pyg.demo.teaching import Lesson

# Gradio is imported by the tests themselves: that takes seconds, in one process instead of all.
pytestmark = pytest.mark.skipif(find_spec("gradio") is None, reason="an extra")
SHAPES = {
    "7": [(80, 60), (200, 60), (120, 230)],
    "L": [(90, 40), (90, 230), (200, 230)],
    "W": [(30, 50), (85, 230), (140, 70), (195, 230), (250, 50)],
    "Z": [(60, 50), (220, 50), (60, 230), (220, 230)],
}


def drawn(shape: str, shift: int = 0) -> Image.Image:
    page = Image.new("L", (280, 280), "white")
    points = [(x + shift * (k % 2), y - shift * (k % 3)) for k, (x, y) in enumerate(SHAPES[shape])]
    ImageDraw.Draw(page).line(points, "black", 22, joint="curve")
    return page


def digit(shape: str, shift: int = 0) -> Tensor:
    from grapheme_pyg.demo.teaching import to_digit

    return to_digit(drawn(shape, shift))


@pytest.fixture(scope="module")
def encoder() -> ImageClassificationModel:
    """Untrained, which is enough to tell these shapes apart, with a memory of some of them."""
    torch.manual_seed(0)
    model = ImageClassificationModel.from_preset("tiny", list(SHAPES), drawings=True).eval()
    images = torch.stack([digit(shape, shift) for shape in SHAPES for shift in range(20)])
    labels = torch.arange(len(SHAPES)).repeat_interleave(20)
    model.remember(images[::2], labels[::2])
    model.calibrate(images[1::2], labels[1::2])
    return model


@pytest.fixture
def lesson(encoder: ImageClassificationModel) -> "Lesson":
    """Three drawings of each of two shapes."""
    from grapheme_pyg.demo.teaching import Lesson

    lesson = Lesson.of(encoder)
    for shift in (0, 8, 16):
        assert lesson.teach("7", digit("7", shift)) is None
        assert lesson.teach(" Winkel ", digit("L", shift)) is None
    return lesson


def same(found: dict[str, list[Tensor | None]], expected: dict[str, list[Tensor | None]]) -> bool:
    def as_lists(examples: dict[str, list[Tensor | None]]) -> list[object]:
        pictures = [
            [drawing if drawing is None else drawing.tolist() for drawing in some] for some in examples.values()
        ]
        return [list(examples), pictures]

    return as_lists(found) == as_lists(expected)


def names_in(folder: Path, drawings: int) -> bool:
    """Whether a folder holds a model with so many drawings, and the file of its lock."""
    names = {path.name for path in folder.iterdir()}
    pictures = {name for name in names if name.startswith("drawing-")}
    return len(pictures) == drawings and names - pictures == {"config.json", "model.safetensors", ".lock"}


def test_a_fourth_drawing_is_recognised_and_another_refused(lesson: "Lesson") -> None:
    known = lesson.recognise(digit("L", 5))
    assert known.label == known.likeliest == "Winkel"
    assert known.familiarity >= known.threshold
    assert known.confidence > 0.5
    assert [name for name, _, _ in known.nearest[:3]] == ["Winkel"] * 3
    assert len(known.nearest) == 5
    cosines = [cosine for _, _, cosine in known.nearest]
    assert cosines == sorted(cosines, reverse=True)
    other = lesson.recognise(digit("W"))
    assert other.label is None
    assert other.familiarity < other.threshold


def test_examples_follow_their_classes(lesson: "Lesson") -> None:
    lesson.teach("7", digit("7", 12))
    shifts = {"7": (0, 8, 16, 12), "Winkel": (0, 8, 16)}
    expected = {name: [digit("7" if name == "7" else "L", shift) for shift in shifts[name]] for name in shifts}
    assert same(lesson.examples(), expected)
    lesson.rename("Winkel", "角")
    lesson.remove("7")
    lesson.teach("Z", digit("Z"))
    assert same(lesson.examples(), {"角": expected["Winkel"], "Z": [digit("Z")]})
    # The positions of the memory go on where they were, those of drawings do not.
    name, drawing, cosine = lesson.recognise(digit("Z")).nearest[0]
    assert (name, cosine) == ("Z", pytest.approx(1, abs=1e-2))
    assert torch.equal(drawing, digit("Z"))
    for left in ("角", "Z"):
        lesson.remove(left)
    assert lesson.examples() == {}
    lesson.teach("é", digit("7"))
    assert list(lesson.examples()) == ["é"]


def test_a_copy_changes_alone(lesson: "Lesson") -> None:
    before, answer = lesson.examples(), lesson.recognise(digit("L", 5))
    copy = lesson.copy()
    copy.teach("Winkel", digit("L", 12))
    copy.teach("Z", digit("Z"))
    copy.rename("Winkel", "角")
    copy.remove("7")
    assert list(copy.examples()) == ["角", "Z"]
    assert same(lesson.examples(), before)
    assert lesson.recognise(digit("L", 5)).familiarity == answer.familiarity
    assert copy.model.dag is lesson.model.dag


def test_the_same_drawing_twice(lesson: "Lesson") -> None:
    lesson.teach("caf\u00e9", digit("Z"))
    with pytest.raises(ValueError, match="drawing: expected one that 'café' does not have yet, got the same again"):
        lesson.teach("cafe\u0301", digit("Z"))
    assert len(lesson.drawings) == 7


def test_a_class_that_looks_like_another_is_taught_with_a_warning(lesson: "Lesson") -> None:
    assert lesson.teach("seven", digit("7", 4)) == (
        "seven: expected examples unlike those of other classes, got some that look like '7'"
    )
    assert len(lesson.examples()["seven"]) == 1


@pytest.mark.parametrize("name", ["", "  ", "a" * 101, "a\nb", "\x1b[31m", "\ud800"])
def test_names_that_are_none(lesson: "Lesson", name: str) -> None:
    before = lesson.examples()
    with pytest.raises(ValueError, match=r"expected .*, got "):
        lesson.teach(name, digit("W"))
    with pytest.raises(ValueError, match=r"expected .*, got "):
        lesson.rename("7", name)
    assert same(lesson.examples(), before)


def test_classes_that_are_not_there_or_taken(lesson: "Lesson") -> None:
    with pytest.raises(ValueError, match="name: expected a class that was taught"):
        lesson.remove("8")
    with pytest.raises(ValueError, match="new: expected a name that no class has yet, got 'Winkel'"):
        lesson.rename("7", "Winkel")
    lesson.rename("7", "7")
    assert lesson.model.classes == ["7", "Winkel"]


def test_lessons_have_their_own_classes(encoder: ImageClassificationModel, lesson: "Lesson") -> None:
    from grapheme_pyg.demo.teaching import Lesson

    other = Lesson.of(encoder)
    other.teach("W", digit("W"))
    assert list(lesson.examples()) == ["7", "Winkel"]
    assert list(other.examples()) == ["W"]
    assert encoder.classes == list(SHAPES)


def test_models_that_cannot_be_taught(encoder: ImageClassificationModel) -> None:
    from grapheme_pyg.demo.teaching import Lesson

    with pytest.raises(ValueError, match="model: expected one with a calibrated memory, as fit leaves it, got one"):
        Lesson.of(ImageClassificationModel.from_preset("tiny"))
    with pytest.raises(ValueError, match="model: expected one with taught classes alone, got one with trained classes"):
        Lesson(encoder, [])
    with pytest.raises(ValueError, match="drawings: expected 0, one for each example, got 1"):
        Lesson(encoder.with_classes([]), [digit("7")])


def test_there_are_not_too_many(lesson: "Lesson", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grapheme_pyg.demo.teaching.MOST_DRAWINGS", 6)
    with pytest.raises(ValueError, match="drawings: expected at most 6, got one more"):
        lesson.teach("W", digit("W"))


def test_nothing_drawn() -> None:
    from grapheme_pyg.demo.teaching import to_digit

    for nothing in (None, Image.new("L", (280, 280), "white")):
        with pytest.raises(ValueError, match="drawing: expected strokes, got none"):
            to_digit(nothing)


def test_a_stroke_at_the_edge_is_drawn_too() -> None:
    from grapheme_pyg.demo.teaching import to_digit

    page = Image.new("L", (280, 280), "white")
    ImageDraw.Draw(page).rectangle((0, 0, 22, 280), "black")
    bar = to_digit(page)
    assert bar.any(dim=1).sum() == 20
    assert 1 <= bar.any(dim=0).sum() <= 4


class TestFolders:
    """Lessons are saved as a whole, with their drawings, and nothing else is opened."""

    def test_saved_and_opened(self, lesson: "Lesson", tmp_path: Path) -> None:
        from grapheme_pyg.demo.teaching import Lesson, folder_below, saved_below

        folder = folder_below(tmp_path / "taught", " meine Zeichen é ")
        assert saved_below(tmp_path / "taught") == []
        lesson.save(folder)
        opened = Lesson.open(folder)
        assert same(opened.examples(), lesson.examples())
        assert saved_below(tmp_path / "taught") == ["meine Zeichen é"]
        assert opened.recognise(digit("L", 5)).label == "Winkel"
        # Another one in its place; nothing of the old one is left.
        opened.remove("7")
        opened.teach("W", digit("W"))
        opened.save(folder)
        assert same(Lesson.open(folder).examples(), opened.examples())
        assert names_in(folder, 4)

    def test_whoever_is_killed_leaves_one_of_both(
        self, lesson: "Lesson", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from grapheme_pyg.demo.teaching import Lesson

        lesson.save(tmp_path)
        before = lesson.examples()
        lesson.remove("7")

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(ImageClassificationModel, "save_pretrained", killed)
            with pytest.raises(KeyboardInterrupt):
                lesson.save(tmp_path)
        assert same(Lesson.open(tmp_path).examples(), before)
        lesson.save(tmp_path)
        assert same(Lesson.open(tmp_path).examples(), lesson.examples())
        assert names_in(tmp_path, 3)

    def test_whoever_was_killed_in_the_first_save_saves_again(self, lesson: "Lesson", tmp_path: Path) -> None:
        from grapheme_pyg.demo.teaching import Lesson

        for name in (".0123456789abcdef.part", f"model-{'0' * 64}.safetensors", f"drawing-{'0' * 16}.png", ".lock"):
            (tmp_path / name).write_bytes(b"\x89PNG")
        lesson.save(tmp_path)
        assert same(Lesson.open(tmp_path).examples(), lesson.examples())
        assert names_in(tmp_path, 6)

    @pytest.mark.filterwarnings("ignore::grapheme_pyg.errors.TrainingWarning")
    def test_commands_change_what_the_page_saved(
        self, lesson: "Lesson", tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from grapheme_pyg.demo.teach_page import show_answer, show_classes
        from grapheme_pyg.demo.teaching import Lesson

        folder = tmp_path / "mine"
        lesson.teach("Z", digit("Z"))
        lesson.save(folder)
        expected = lesson.examples()
        for shape, shift, name in (("7", 12, "7"), ("W", 0, "ω")):
            drawn(shape, shift).save(tmp_path / "picture.png")
            assert run(capsys, "teach", folder, tmp_path / "picture.png", "--name", name)[0] == 0
        assert run(capsys, "forget", folder, "Winkel")[0] == 0
        model = ImageClassificationModel.from_pretrained(folder)
        model.rename_class("Z", "zed")
        model.save_pretrained(folder)

        opened = Lesson.open(folder)
        expected = {"7": [*expected["7"], None], "zed": expected["Z"], "ω": [None]}
        assert same(opened.examples(), expected)
        html = show_classes(opened)
        assert html.count("<img ") == 4
        assert "4 drawings, 1 without a picture" in html
        answer = opened.recognise(digit("W"))
        assert answer.label == "ω"
        assert 'aria-label="Example of ω, without a picture"' in show_answer(answer)

        opened.teach("ω", digit("W", 8))
        opened.save(folder)
        assert same(Lesson.open(folder).examples(), expected | {"ω": [None, digit("W", 8)]})
        assert names_in(folder, 5)
        assert ImageClassificationModel.from_pretrained(folder).classes == ["7", "zed", "ω"]
        for name in ("7", "zed", "ω"):
            assert run(capsys, "forget", folder, name)[0] == 0
        assert Lesson.open(folder).examples() == {}

    def test_what_commands_taught_is_opened_and_saved(
        self, encoder: ImageClassificationModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from grapheme_pyg.demo.teaching import Lesson, saved_below

        encoder.save_pretrained(tmp_path / "encoder")
        for shift in range(2):
            (tmp_path / "L").mkdir(exist_ok=True)
            drawn("L", 8 * shift).save(tmp_path / "L" / f"{shift}.png")
        taught = tmp_path / "taught" / "é"
        code, _, _ = run(
            capsys, "teach", tmp_path / "encoder", tmp_path / "L", "--name", "L", "--empty", "--out", taught
        )
        assert code == 0
        assert saved_below(tmp_path / "taught") == ["é"]
        lesson = Lesson.open(taught)
        assert lesson.examples() == {"L": [None, None]}
        lesson.teach("W", digit("W"))
        lesson.save(taught)
        assert same(Lesson.open(taught).examples(), {"L": [None, None], "W": [digit("W")]})
        # A model of trained classes is another kind.
        with pytest.raises(ValueError, match="model: expected one with taught classes alone"):
            Lesson.open(tmp_path / "encoder")

    def test_what_changed_meanwhile_is_not_overwritten(
        self, lesson: "Lesson", tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from grapheme_pyg.demo.teaching import Lesson

        folder = tmp_path / "mine"
        lesson.save(folder)
        drawn("W").save(tmp_path / "w.png")
        assert run(capsys, "teach", folder, tmp_path / "w.png", "--name", "W")[0] == 0
        lesson.teach("Z", digit("Z"))
        for other in (lesson, lesson.copy()):
            with pytest.raises(ValueError, match=r"folder: expected a new name, .* has not changed since, got 'mine'"):
                other.save(folder)
        assert list(Lesson.open(folder).examples()) == ["7", "Winkel", "W"]
        shutil.rmtree(folder)
        lesson.save(folder)
        assert list(Lesson.open(folder).examples()) == ["7", "Winkel", "Z"]

    @pytest.mark.parametrize("name", ["心", "ñandú", "שלום", "شجرة", "🦋", "👩‍👩‍👧", "ไทย"])
    def test_names_of_any_language(self, lesson: "Lesson", tmp_path: Path, name: str) -> None:
        from grapheme_pyg.demo.teach_page import show_answer, show_classes
        from grapheme_pyg.demo.teaching import Lesson, folder_below, saved_below

        lesson.teach(name, digit("Z"))
        lesson.rename("Winkel", f"{name} 2")
        lesson.save(folder_below(tmp_path, name))
        assert saved_below(tmp_path) == [name]
        opened = Lesson.open(folder_below(tmp_path, name))
        assert list(opened.examples()) == ["7", f"{name} 2", name]
        answer = opened.recognise(digit("Z"))
        assert answer.label == name
        assert f'<p class="label" dir="auto">{name}</p>' in show_answer(answer)
        assert f'data-delete="{name}" aria-label="Delete {name}"' in show_classes(opened)
        opened.remove(name)
        assert list(opened.examples()) == ["7", f"{name} 2"]

    def test_nothing_else_is_overwritten_or_opened(
        self, encoder: ImageClassificationModel, lesson: "Lesson", tmp_path: Path
    ) -> None:
        from grapheme_pyg.demo.teaching import Lesson

        encoder.save_pretrained(tmp_path / "mnist")
        (tmp_path / "file").write_text("")
        for name in ("mnist", "file"):
            with pytest.raises(ValueError, match=f"folder: expected a new name, .*, got '{name}'; choose another name"):
                lesson.save(tmp_path / name)
            assert not (tmp_path / name / ".lock").exists()
        with pytest.raises(FileNotFoundError, match=r"config\.json"):
            Lesson.open(tmp_path / "none")
        with pytest.raises(ValueError, match="classes: expected at least one to save, got none"):
            Lesson.of(encoder).save(tmp_path / "empty")
        assert not (tmp_path / "empty").exists()

    def test_drawings_of_another_size(self, lesson: "Lesson", tmp_path: Path) -> None:
        from grapheme_pyg.demo.teaching import Lesson

        lesson.save(tmp_path)
        path = min(tmp_path.glob("*.png"))
        Image.new("L", (27, 28)).save(path)
        with pytest.raises(ValueError, match=f"{path.name}: expected a drawing of 28 by 28 pixels, got 27 by 28"):
            Lesson.open(tmp_path)
        path.write_bytes(b"")
        with pytest.raises(ValueError, match=f"{path.name}: expected an image"):
            Lesson.open(tmp_path)
        path.unlink()
        assert sum(drawing is None for drawing in Lesson.open(tmp_path).drawings) == 1

    @pytest.mark.parametrize(
        "name",
        ["", " ", ".", "..", "../a", "a/b", "/etc", "a\\b", "C:", "a\0", "a\nb", ".git", "a.", "é" * 51, "\udc80"],
    )
    def test_names_that_lead_elsewhere(self, tmp_path: Path, name: str) -> None:
        from grapheme_pyg.demo.teaching import folder_below

        with pytest.raises(ValueError, match="folder: expected a name of at most 100 bytes"):
            folder_below(tmp_path, name)

    def test_links_that_lead_elsewhere(self, lesson: "Lesson", tmp_path: Path) -> None:
        from grapheme_pyg.demo.teaching import folder_below

        base = tmp_path / "taught"
        lesson.save(folder_below(base, "mine"))
        shutil.move(base / "mine", tmp_path / "outside")
        (base / "mine").symlink_to(tmp_path / "outside")
        with pytest.raises(ValueError, match=r"folder: expected one below .*, got 'mine', which is a link"):
            folder_below(base, "mine")


class TestPage:
    """Texts from outside are shown as they are, and drawings are read within limits."""

    def test_names_are_no_markup(self, lesson: "Lesson") -> None:
        from grapheme_pyg.demo.teach_page import saying, show_answer, show_classes

        name = "<img src=x onerror=alert(1)> \"'&\u202e"
        lesson.rename("7", name)
        lesson.remove("Winkel")
        for html in (show_classes(lesson), show_answer(lesson.recognise(digit("7", 5))), saying(name)):
            assert "<img src=x" not in html
            assert "&lt;img src=x onerror=alert(1)&gt;" in html
        # What a button hands back is the name itself.
        assert '" data-delete="&lt;img src=x onerror=alert(1)&gt; &quot;&#x27;&amp;\u202e"' in show_classes(lesson)

    def test_answers(self, lesson: "Lesson") -> None:
        from grapheme_pyg.demo.teach_page import show_answer

        known, other = show_answer(lesson.recognise(digit("L", 5))), show_answer(lesson.recognise(digit("W")))
        assert '<p class="label" dir="auto">Winkel</p>' in known
        assert known.count("<img ") == 5
        assert 'alt="Example of Winkel"' in known
        assert '<p class="label">Not recognised</p>' in other

    def test_what_the_canvas_holds(self) -> None:
        import base64
        from io import BytesIO

        from gradio import Error

        from grapheme_pyg.demo.pad import PREFIX, read_pad

        def url(image: Image.Image) -> str:
            image.save(file := BytesIO(), "PNG")
            return PREFIX + base64.b64encode(file.getvalue()).decode()

        page = Image.new("RGBA", (280, 280))
        assert read_pad("") is read_pad(None) is read_pad(url(page)) is None
        page.paste("black", (100, 50, 122, 200))
        read = read_pad(url(page))
        assert read is not None
        assert read.getbbox() == (0, 0, 280, 280)
        assert read.getpixel((110, 100)) == 0
        for wrong, message in (
            ("http://127.0.0.1/", "expected a PNG as a data URL"),
            (PREFIX + "é", "expected a PNG as a data URL"),
            (PREFIX + "AAAA", "expected an image, got 3 bytes"),
            (url(Image.new("1", (2_000, 1_000))), "expected at most 1,048,576 pixels"),
        ):
            with pytest.raises(Error, match=message):
                read_pad(wrong)

"""Drawings on sheets: literal bars on paper of every kind, and models that look for them by themselves."""

import numpy as np
import pytest
import torch

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.vision import find_drawings
from grapheme_pyg.vision.printed_lines import add_line, find_lines

# A bar of 60 × 20 pixels: its left, top, right and bottom.
BAR = (90, 60, 110, 120)


def sheet(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    page = np.full((200, 200), 220, np.uint8)
    for left, top, right, bottom in boxes:
        page[top:bottom, left:right] = 60
    return page


def ruled(page: np.ndarray) -> np.ndarray:
    page[10::20] = np.minimum(page[10::20], 180)
    return page


def framed(page: np.ndarray) -> np.ndarray:
    outline = np.zeros(page.shape, bool)
    outline[30:160, 40:160] = True
    outline[34:156, 44:156] = False
    return np.where(outline, 60, page).astype(np.uint8)


def on_table(page: np.ndarray) -> np.ndarray:
    page[:20], page[-20:], page[:, :20], page[:, -20:] = 30, 30, 30, 30
    return page


def shadowed(page: np.ndarray) -> np.ndarray:
    page[:, 100:] //= 2
    return page


CHANGES = {"plain": lambda page: page, "ruled": ruled, "framed": framed, "on a table": on_table, "shadowed": shadowed}


@pytest.mark.parametrize("change", CHANGES)
def test_a_bar_is_found_whatever_the_paper(change: str) -> None:
    page = CHANGES[change](sheet(BAR))
    for picture in (page, 255 - page):
        (found,) = find_drawings(picture)
        assert all(abs(came - expected) <= 2 for came, expected in zip(found.box, BAR, strict=True))
        # Of 60 × 20, so 20 × 7 in the box.
        assert (int((found.pixels > 127).any(dim=1).sum()), int((found.pixels > 127).any(dim=0).sum())) == (20, 7)


@pytest.mark.parametrize("change", CHANGES)
def test_without_it_the_sheet_is_blank(change: str) -> None:
    assert find_drawings(CHANGES[change](sheet())) == []


def test_parts_that_are_near_are_one_drawing_and_others_are_several() -> None:
    assert [found.box for found in find_drawings(sheet(BAR, (114, 60, 134, 80)))] == [(90, 60, 134, 120)]
    assert len(find_drawings(sheet(BAR, (150, 60, 170, 120)))) == 2


def test_a_small_part_belongs_to_a_drawing_across_a_larger_gap_than_one_of_its_size() -> None:
    assert [found.box for found in find_drawings(sheet(BAR, (130, 60, 140, 80)))] == [(90, 60, 140, 120)]
    assert len(find_drawings(sheet(BAR, (130, 60, 140, 120)))) == 2


def test_a_thin_stroke_as_dark_as_printed_lines_is_found_across_them_and_not_along_them() -> None:
    page = np.full((400, 400), 220, np.uint8)
    page[10::20] = page[11::20] = 178
    along = page.copy()
    page[120:280, 198:202] = 178
    assert [found.box for found in find_drawings(page)] == [(198, 120, 202, 280)]
    along[118:122, 120:280] = 178
    assert find_drawings(along) == []


def test_specks_in_a_thick_stroke_are_not_enclosed_areas() -> None:
    page = sheet((50, 50, 150, 150))
    page[80:120, 80:120] = 220
    for left in range(53, 147, 8):
        page[60:63, left : left + 3] = page[140:143, left : left + 3] = 220
    assert [found.box for found in find_drawings(page)] == [(50, 50, 150, 150)]


def test_a_shadow_across_the_edges_of_a_sheet_does_not_hide_them() -> None:
    # A table with grain, half of it and of the sheet in a hard shadow; strokes near the edge of the sheet are kept.
    rows, columns = np.mgrid[:400, :400]
    table = 60 + 30 * ((rows // 8 + columns // 8) % 2)
    paper = (rows > 30) & (rows < 370) & (columns > 30 + rows // 20) & (columns < 370)
    for bar, number in ((None, 0), ((48, 100, 68, 220), 1)):
        page = np.where(paper, 220, table)
        if bar:
            page[bar[1] : bar[3], bar[0] : bar[2]] = 60
        page[(rows + columns) > 420] //= 2
        for picture in (page, 255 - page):
            assert len(find_drawings(picture.astype(np.uint8))) == number


def test_what_is_left_of_a_box_at_the_edge_is_no_drawing() -> None:
    rows, columns = np.mgrid[:400, :400]
    wobble = np.round(4 * np.sin(rows / 40)).astype(int)
    outer = (rows > 60) & (rows < 340) & (columns > 50 + wobble) & (columns < 350 + wobble)
    inner = (rows > 76) & (rows < 324) & (columns > 66 + wobble) & (columns < 334 + wobble)
    page = np.where(outer & ~inner, 70, 220).astype(np.uint8)
    assert find_drawings(page) == find_drawings(255 - page) == []


def test_a_printed_line_is_as_dark_as_where_no_stroke_hides_it() -> None:
    ink = np.zeros((100, 100), np.float32)
    ink[50] = 0.2
    ink[44:57, 15:85] = 0.5
    (line,) = find_lines(ink, np.zeros(ink.shape, bool), 0.001)
    assert add_line(ink, line, np.zeros_like(ink)) == pytest.approx(0.2)


def test_drawings_in_a_frame_are_several_and_the_frame_is_none() -> None:
    page = ruled(framed(sheet((60, 60, 80, 120), (120, 60, 140, 120))))
    assert sorted(found.box[0] for found in find_drawings(page)) == [60, 120]


def test_three_sides_are_a_drawing_and_four_are_a_frame() -> None:
    three = (60, 50, 65, 150), (60, 145, 140, 150), (135, 50, 140, 150)
    assert [found.box for found in find_drawings(sheet(*three))] == [(60, 50, 140, 150)]
    assert find_drawings(sheet(*three, (60, 50, 140, 55))) == []


def test_light_that_comes_and_goes_slowly_is_no_drawing() -> None:
    y, x = np.mgrid[-1:1:200j, -1:1:200j]
    for inside in (1 - 0.6 * (x**2 + y**2) / 2, 0.4 + 0.6 * (x**2 + y**2) / 2):
        page = (220 * inside).astype(np.uint8)
        assert find_drawings(page) == find_drawings(255 - page) == []


def test_a_thick_stroke_may_be_as_faint_as_printed_lines() -> None:
    page = sheet(BAR)
    page[page == 60] = 175
    (found,) = find_drawings(ruled(page))
    assert all(abs(came - expected) <= 3 for came, expected in zip(found.box, BAR, strict=True))


def test_what_lies_along_printed_lines_is_left_of_one_unless_it_is_much_darker() -> None:
    # Printed lines have ink of 40 / 220, and what is left of one seldom more than 1.75 times as much.
    for along, dark, number in ((True, 158, 0), (True, 130, 1), (False, 158, 1)):
        page = ruled(sheet())
        (page if along else page.T)[74:76, 60:130] = dark
        assert len(find_drawings(page)) == number, (along, dark)


def test_thin_strokes_become_as_wide_as_those_of_mnist() -> None:
    (found,) = find_drawings(sheet((99, 60, 101, 140)))
    assert 2 <= int((found.pixels[14] > 127).sum()) <= 3


def test_models_of_drawings_look_for_them_in_large_pictures() -> None:
    torch.manual_seed(0)
    model = ImageClassificationModel.from_preset("tiny", 10, vision={"resize": 28}, drawings=True).eval()
    pictures = [sheet(BAR), sheet(), sheet(BAR, (150, 60, 170, 120)), sheet(BAR)[60:116, 60:116]]
    answer = model.predict(pictures)
    assert answer.boxes == [BAR, None, None, None]
    assert answer.reasons == [None, "blank", "several drawings", None]
    assert [label is None for label in answer.labels] == [False, True, True, False]
    assert answer.probabilities[1:3].unique().tolist() == pytest.approx([0.1])
    as_it_is = model.predict(pictures, find_drawings=False)
    assert as_it_is.boxes == [None] * 4
    assert torch.equal(answer.similarities[3], as_it_is.similarities[3])


def test_only_models_of_drawings_do() -> None:
    model = ImageClassificationModel.from_preset("tiny", 10, vision={"resize": 28}).eval()
    assert model.predict([sheet(BAR)]).boxes == [None]
    assert model.predict([sheet(BAR)], find_drawings=True).boxes == [BAR]
    with pytest.raises(ValueError, match="drawings: expected False"):
        ImageClassificationModel(VisionBrain(relative=False), drawings=True)

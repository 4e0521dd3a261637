import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from grapheme_pyg.vision.skeletons import NEIGHBOURS, Strokes, find_strokes, thin


def strokes_of(picture: str, longest: int = 9) -> Strokes:
    """Cuts the figure that is drawn with characters other than dots, one region."""
    ink = np.array([[letter != "." for letter in row] for row in picture.split()])
    return find_strokes(np.where(ink, 0, -1)[None], np.array([longest]))


def drawn(strokes: Strokes) -> str:
    return " ".join("".join("." if i < 0 else str(i) for i in row) for row in strokes.labels[0])


def pairs(strokes: Strokes) -> set[tuple[int, int]]:
    """Returns joined pairs, the smaller number first, after a check that each occurs in both directions."""
    found = {(int(a), int(b)) for a, b in strokes.joined.T}
    assert found == {(b, a) for a, b in found}
    return {(a, b) for a, b in found if a < b}


def test_a_line_that_bends_is_one_stroke_with_two_ends():
    corner = "#.... #.... #.... #.... #####"
    strokes = strokes_of(corner)
    assert drawn(strokes) == corner.replace("#", "0")
    assert (strokes.ends.tolist(), strokes.arms.tolist()) == ([2], [0])
    assert strokes.joined.shape == (2, 0)


def test_three_lines_join_at_the_junction_of_a_t():
    strokes = strokes_of("####### ...#... ...#... ...#... ...#...")
    assert drawn(strokes) == "0011122 ...1... ...3... ...3... ...3..."
    assert strokes.ends.tolist() == [1, 0, 1, 1]
    assert strokes.arms.tolist() == [0, 3, 0, 0]
    assert pairs(strokes) == {(0, 1), (1, 2), (1, 3)}


def test_four_lines_join_at_the_junction_of_a_plus():
    strokes = strokes_of("..#.. ..#.. ##### ..#.. ..#..")
    assert drawn(strokes) == "..0.. ..1.. 21113 ..1.. ..4.."
    assert strokes.ends.tolist() == [1, 0, 1, 1, 1]
    assert strokes.arms.tolist() == [0, 4, 0, 0, 0]
    assert pairs(strokes) == {(0, 1), (1, 2), (1, 3), (1, 4)}


def test_a_ring_has_no_ends_and_is_cut_into_pieces_that_follow_one_another():
    # Twelve pixels; the last one is six steps from the first, two of them diagonal: 34 fifths of a pixel, three pieces.
    strokes = strokes_of(".###. #...# #...# #...# .###.", longest=3)
    assert drawn(strokes) == ".001. 2...3 2...3 4...3 .455."
    assert strokes.ends.tolist() == strokes.arms.tolist() == [0] * 6
    assert pairs(strokes) == {(0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 5)}


def test_long_lines_are_cut_into_equal_pieces():
    # Six pixels long, and at most three.
    assert drawn(strokes_of("#######", longest=3)) == "0001111"
    assert drawn(strokes_of("#######", longest=6)) == "0000000"
    assert drawn(strokes_of("#######", longest=2)) == "0001111", "pieces are at least three pixels long"


def test_thick_lines_have_the_skeleton_in_their_middle_and_keep_all_pixels():
    strokes = strokes_of("####### ####### #######", longest=3)
    assert drawn(strokes) == "0001111 0001111 0001111"
    assert strokes.ends.tolist() == [1, 1]


@pytest.mark.parametrize("picture", ["#", "## ##", "##### ##### ##### ##### #####"])
def test_spots_are_one_stroke(picture):
    strokes = strokes_of(picture)
    assert drawn(strokes) == picture.replace("#", "0")
    assert strokes.ends.tolist() == [1]


def test_pixels_belong_to_a_stroke_of_their_own_region():
    # The skeleton of the thick bar is further from its lower corner than the thin line.
    regions = np.full((1, 9, 12), -1)
    regions[0, :7] = 0
    regions[0, 8] = 1
    strokes = find_strokes(regions, np.array([99, 99]))
    labels = strokes.labels[0]
    assert (strokes.region[labels[:7]] == 0).all()
    assert (labels[7] == -1).all()
    assert (strokes.region[labels[8]] == 1).all()


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask: np.ndarray = rng.random(shape) < draw(st.sampled_from([0.1, 0.5, 0.8, 0.95]))
    return mask


CONNECTED = np.zeros((3, 3, 3), bool)
CONNECTED[1] = True


@settings(deadline=None, max_examples=60, derandomize=True, database=None)
@given(masks())
def test_each_component_has_one_connected_thin_skeleton(mask):
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    on, steps = padded.ravel().copy(), np.array([y * padded.shape[2] + x for y, x in NEIGHBOURS])
    thin(on, steps)
    thinned = on.reshape(padded.shape)
    assert not (thinned & ~padded).any()
    components, number = ndimage.label(padded, CONNECTED)
    skeletons, same = ndimage.label(thinned, CONNECTED)
    assert same == number
    assert len(set(zip(skeletons[thinned], components[thinned], strict=True))) == number
    # Nothing is left that would be removed.
    again = on.copy()
    thin(again, steps)
    assert (again == on).all()


@settings(deadline=None, max_examples=60, derandomize=True, database=None)
@given(masks())
def test_strokes_divide_regions_and_do_not_depend_on_other_images(mask):
    components, number = ndimage.label(mask, CONNECTED)
    longest = np.full(number, 3)
    regions = components.astype(np.int64) - 1
    strokes = find_strokes(regions, longest)
    assert ((strokes.labels >= 0) == mask).all()
    assert (strokes.region[strokes.labels[mask]] == regions[mask]).all()
    for stroke in range(len(strokes.region)):
        assert ndimage.label(strokes.labels == stroke, CONNECTED)[1] == 1
    first = 0
    for image, labels in zip(regions, strokes.labels, strict=True):
        alone = find_strokes(image[None], longest)
        assert (alone.labels[0] == np.where(labels >= 0, labels - first, -1)).all()
        first += len(alone.region)

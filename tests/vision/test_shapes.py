import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import euler_number, moments_hu, regionprops

from grapheme_pyg.vision.shapes import Regions, ellipse, hu_moments, rasters, windows

# A ring of eight pixels around one, and a bar of three.
PICTURE = np.array(
    [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 3],
        [0, 1, 2, 1, 0, 3],
        [0, 1, 1, 1, 0, 3],
        [0, 0, 0, 0, 0, 0],
    ]
)


def random_labels(seed, size=(3, 13, 17)):
    """Connected regions of every shape, in a stack of images; pixels at a corner are neighbours."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, size)
    connected = np.zeros((3, 3, 3), bool)
    connected[1] = True
    labels, count = np.zeros(size, np.int64), 0
    for value in range(3):
        found, number = ndimage.label(classes == value, connected)
        labels += np.where(found > 0, found - 1 + count, 0)
        count += number
    return Regions(labels, count)


def test_a_ring_by_hand():
    regions = Regions(PICTURE[None], 4)
    assert regions.area.tolist() == [18, 8, 1, 3]
    assert regions.box[1:].tolist() == [[1, 1, 3, 3], [2, 2, 2, 2], [1, 5, 3, 5]]
    # x, then y, at the middle of pixels.
    assert regions.centre[1:].tolist() == [[2.5, 2.5], [2.5, 2.5], [5.5, 2.5]]
    assert regions.euler.tolist() == [0, 0, 1, 1]
    # The variance of a row of 3 unit squares is 9/12, that of one is 1/12; η divides by the area.
    np.testing.assert_allclose(regions.moments[3], [1 / 12 / 3, 0, 9 / 12 / 3, 0, 0, 0, 0], atol=1e-15)
    # Six of the ring's eight pixels are one off the middle.
    np.testing.assert_allclose(regions.moments[1, :3], [(6 / 8 + 1 / 12) / 8, 0, (6 / 8 + 1 / 12) / 8], atol=1e-15)


@pytest.mark.parametrize("seed", range(4))
def test_regions_against_scikit_image(seed):
    regions = random_labels(seed)
    hu = hu_moments(regions.moments)
    for image in range(3):
        for found in regionprops(regions.labels[image] + 1):
            i = found.label - 1
            assert regions.area[i] == found.area
            top, left, bottom, right = found.bbox
            assert regions.box[i].tolist() == [top, left, bottom - 1, right - 1]
            np.testing.assert_allclose(regions.centre[i], np.array(found.centroid)[::-1] + 0.5)
            assert regions.euler[i] == euler_number(found.image, connectivity=2)
            # Theirs are of points, and indexed by row, then column.
            normal = found.moments_normalized
            second = regions.moments[i, :3] - np.array([1, 0, 1]) / 12 / found.area
            np.testing.assert_allclose(second, [normal[0, 2], normal[1, 1], normal[2, 0]], atol=1e-12)
            third = [normal[0, 3], normal[1, 2], normal[2, 1], normal[3, 0]]
            np.testing.assert_allclose(regions.moments[i, 3:], third, atol=1e-12)
            # Hu's moments do not change when x and y change places, but for the sign of the seventh.
            ours = normal.copy()
            ours[0, 2] += 1 / 12 / found.area
            ours[2, 0] += 1 / 12 / found.area
            theirs = moments_hu(np.nan_to_num(ours))
            powers = np.array([1, 2, 2, 2, 4, 2, 4])
            squared = np.sign(hu[i]) * np.abs(hu[i]) ** powers
            np.testing.assert_allclose(np.abs(squared), np.abs(theirs), atol=1e-12)


def test_ellipses_of_bars_and_squares():
    bar, square = np.array([[9 / 12 / 3, 0, 1 / 12 / 3]]), np.array([[1 / 12, 0, 1 / 12]])
    moments = np.pad(np.concatenate([bar, square, bar[:, ::-1]]), ((0, 0), (0, 4)))
    # Along x, round, along y: the minor axis of the bar is a third of the major one.
    eccentricity = np.sqrt(1 - 1 / 9)
    expected = [[0.8, 0, eccentricity], [0, 0, 0], [-0.8, 0, eccentricity]]
    np.testing.assert_allclose(ellipse(moments), expected, atol=1e-15)


def test_rasters_grow_and_shrink_shapes():
    regions = Regions(PICTURE[None], 4)
    values = np.full(PICTURE[None].shape, 0.5)
    pixel, bar = rasters(regions, values, np.array([2, 3]), np.array([0, 0]), 8).reshape(2, 8, 8)
    assert (pixel == 0.5).all()
    # The bar is the middle third of the square around it: of 16 samples in a row, numbers 5 to 10.
    assert bar.tolist() == [[0, 0, 0.25, 0.5, 0.5, 0.25, 0, 0]] * 8


def test_features_do_not_depend_on_the_other_images():
    together = random_labels(0)
    for image in range(3):
        labels = together.labels[image : image + 1]
        numbers, single = np.unique(labels, return_inverse=True)
        alone = Regions(single.reshape(labels.shape), numbers.size)
        for name in ("area", "box", "centre", "moments", "euler"):
            assert np.array_equal(getattr(alone, name), getattr(together, name)[numbers]), name


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (2, [[4, 5, 8, 9, 15, 15, 15, 15], [6, 7, 10, 11, 15, 15, 15, 15]]),
        # Of the second, half is beyond the border, and in nobody's region.
        (4, [[4, 6, 12, 14, 15, 0, 15, 0], [6, 7, 14, 15, 15, 0, 15, 0]]),
    ],
)
def test_windows_show_pixels_and_which_are_their_own(width: int, expected: list[list[int]]) -> None:
    # The left and the right half of an image whose levels count from 0 to 15.
    regions = Regions(np.array([[[0, 0, 1, 1]] * 4]), 2)
    pixels = 17 * np.arange(16).reshape(1, 1, 4, 4)
    shown = windows(regions, pixels, np.array([0, 0]), np.full(2, float(width)), 2)
    np.testing.assert_allclose(15 * shown, expected)

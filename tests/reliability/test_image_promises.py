import image_bombs
import images
import numpy as np
import odd_files
import odd_images
import process_cost
import pytest
from harness import try_cases

from grapheme_pyg.datasets import image_reading
from grapheme_pyg.errors import ImageError

FILES, ARRAYS, BOMBS, SIZES = images.CHECKS


@pytest.mark.parametrize(("check", "count"), [(FILES, 42), (ARRAYS, 32), (BOMBS, 11)])
def test_odd_images_harm_nothing(check, count):
    outcome = try_cases(check, count)
    assert outcome.messages == []
    assert (outcome.done, outcome.broken) == (count, 0)
    assert 0 < outcome.measured["megabytes"] <= 50


def test_every_kind_of_file_is_among_them():
    kinds = [odd_files.FILES[number % len(odd_files.FILES)].__name__ for number in range(42)]
    assert set(kinds) == {"saved", "cut", "changed", "lying", "joined", "foreign"}
    assert {odd_files.saved(np.random.default_rng(number))[0] for number in range(42)} == set(odd_files.SAVED)
    good = [odd_images.in_memory(np.random.default_rng(number))[1] for number in range(32)]
    assert 8 <= sum(good) <= 24


def test_another_exception_breaks_the_promise(monkeypatch):
    def wrong(*_, **__):
        raise OSError("broken")

    monkeypatch.setattr(images, "read_image", wrong)
    with pytest.raises(AssertionError, match="raised OSError: broken"):
        images.one_file(0)


def test_an_unclear_message_breaks_the_promise(monkeypatch):
    def wrong(*_, **__):
        raise ImageError("broken")

    monkeypatch.setattr(images, "read_image", wrong)
    with pytest.raises(AssertionError, match="unclear message 'broken'"):
        images.one_file(1)


def test_a_refused_good_file_breaks_the_promise(monkeypatch):
    def wrong(path, *_, **__):
        raise ImageError(f"{path}: expected nothing, got something")

    monkeypatch.setattr(images, "read_image", wrong)
    with pytest.raises(AssertionError, match="refused a whole"):
        images.one_file(0)


def test_without_limits_bombs_break_the_promise(monkeypatch):
    monkeypatch.setattr(image_reading, "check_content", lambda *_: None)
    for number, seconds, broken in ((1, 60.0, r"\d+\.\d MB for"), (10, 0.1, r"\d+\.\d\d s for")):
        monkeypatch.setattr(images, "SECONDS", seconds)
        with pytest.raises(AssertionError, match=broken):
            images.one_bomb(number)
    assert image_bombs.BOMBS == 11


def test_an_accepted_bad_image_breaks_the_promise(monkeypatch):
    monkeypatch.setattr(images, "in_memory", lambda _: (np.zeros((4, 4), np.uint8), False))
    with pytest.raises(AssertionError, match="good is False, but accepted"):
        images.one_in_memory(0)


@pytest.mark.parametrize(("powers", "match"), [((2, 0), "4.00 times the seconds"), ((0, 2), "4.00 times the memory")])
def test_a_pixel_of_a_larger_image_may_not_cost_more(monkeypatch, powers, match):
    # Of costs that grow with the square of the number of pixels.
    monkeypatch.setattr(images, "cost_of_side", lambda _, __, side, ___: [1e-9 * side**power for power in powers])
    with pytest.raises(AssertionError, match=match):
        images.one_large(0)


def test_costs_are_measured():
    cost = process_cost.cost_of(lambda: np.ones(4_000_000, np.uint8).sum())
    assert 3.5 <= cost.megabytes <= 6
    cost = process_cost.cost_of(lambda: [i * i for i in range(300_000)] and None)
    assert cost.seconds > 0.005
    assert isinstance(process_cost.cost_of(lambda: 1 // 0).error, ZeroDivisionError)

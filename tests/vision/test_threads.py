import multiprocessing
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from systems import needs_linux
from torch import Tensor

from grapheme_pyg import VisionBrain
from grapheme_pyg.vision import lattice_cache, superpixel
from grapheme_pyg.vision.lattice import Lattice


@pytest.fixture
def hurried() -> Iterator[None]:
    """Python's threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def at_once(tasks: list[Callable[[], object]]) -> list[BaseException]:
    """Runs each in a thread of its own; the errors."""
    start, errors = threading.Barrier(len(tasks)), []

    def run(task: Callable[[], object]) -> None:
        torch.set_num_threads(1)
        start.wait(10)
        try:
            task()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return errors


def images_of(sizes: list[tuple[int, int]]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(256, size, dtype=torch.uint8, generator=generator) for size in sizes]


@pytest.mark.slow
def test_lattices_that_come_and_go(hurried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    # Room for half of these sizes: nearly every call throws out what another has just put in.
    images = images_of([(height, width) for height in range(3, 10) for width in range(3, 10)])
    alone, brain = VisionBrain(), VisionBrain()
    expected = [alone(image) for image in images]
    room = sum(lattice.num_edges for lattice in alone._lattices._kept.values()) // 2
    monkeypatch.setattr(lattice_cache, "CACHED_EDGES", room)

    def num_edges(lattice: Lattice) -> int:
        time.sleep(0)  # the others' turn, where the room that is left is counted
        return lattice.edge_type.numel()

    monkeypatch.setattr(Lattice, "num_edges", property(num_edges))

    def go(first: int) -> None:
        for i in range(len(images) // 2):
            number = (first + i) % len(images)
            assert torch.equal(brain(images[number]).edge_index, expected[number].edge_index)
            assert sum(lattice.edge_type.numel() for lattice in list(brain._lattices._kept.values())) <= room

    assert at_once([lambda i=i: go(10 * i) for i in range(8)]) == []


def test_the_last_lattices_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    brain = VisionBrain()
    small, large = images_of([(4, 4), (12, 12)])
    brain(small)
    brain(large)
    assert list(brain._lattices._kept) == [(4, 4), (12, 12)]
    monkeypatch.setattr(lattice_cache, "CACHED_EDGES", brain._lattices._kept[12, 12].num_edges)
    brain(small[:3])
    assert list(brain._lattices._kept) == [(3, 4)]
    monkeypatch.setattr(lattice_cache, "CACHED_EDGES", 0)
    brain(small[:2])
    assert list(brain._lattices._kept) == []


@pytest.mark.slow
def test_superpixels_leave_the_filters_of_warnings(hurried: None) -> None:
    # More regions than pixels with contrast: SLIC warns, which is kept quiet, in every thread and in no other place.
    pytest.importorskip("skimage")
    brain = VisionBrain("superpixel", num_regions=40, slic="scikit-image")
    image = torch.full((12, 12), 255, dtype=torch.uint8)
    image[3:6, 3:5] = 0
    filters = list(warnings.filters)
    assert at_once([lambda: [brain(image) for _ in range(8)]] * 8) == []
    assert warnings.filters == filters


@needs_linux
def test_superpixels_in_a_process_that_was_forked_from_among_threads() -> None:
    # As processes that load data are, while another thread of their parent is in the middle of an image.
    pytest.importorskip("skimage")
    brain = VisionBrain("superpixel", slic="scikit-image")
    process = multiprocessing.get_context("fork").Process(target=brain, args=(torch.eye(12),))
    with superpixel._filters:
        process.start()
        process.join(20)
    code = process.exitcode
    process.kill()
    assert code == 0

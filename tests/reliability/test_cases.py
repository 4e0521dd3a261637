import numpy as np
import pytest
from cases import call


def test_what_a_call_takes_is_measured() -> None:
    large = call(lambda: int(np.ones(8_000_000, np.uint8).sum()))
    assert large.result == 8_000_000
    assert 7 <= large.mib <= 12
    large.require(seconds=60, mib=20)
    with pytest.raises(AssertionError, match="expected 4 MiB at most, got"):
        large.require(seconds=60, mib=4)
    with pytest.raises(AssertionError, match="expected 0 s at most, got"):
        call(lambda: sum(range(3_000_000))).require(seconds=0, mib=100)
    assert isinstance(call(lambda: 1 // 0).error, ZeroDivisionError)


def test_what_a_call_takes_does_not_depend_on_the_heap() -> None:
    def grow() -> int:
        data = bytearray()
        for _ in range(10):
            data += bytes(2**20)
        return len(data)

    # Freeing a large block lets later ones come from the heap, where a buffer that grows is copied from place to place.
    bytearray(2**24).clear()
    held = [bytearray(2**20) for _ in range(4)]
    assert call(grow).mib <= 13
    assert len(held) == 4

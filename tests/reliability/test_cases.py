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

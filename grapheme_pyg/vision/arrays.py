"""Type aliases of NumPy arrays that say what their values are."""

from typing import Any, TypeAlias

import numpy as np

Bools: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Floats: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Ints: TypeAlias = np.ndarray[Any, np.dtype[Any]]

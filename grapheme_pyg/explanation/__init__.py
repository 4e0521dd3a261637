"""Which edges, nodes and pixels decided."""

from grapheme_pyg.explanation.explanation import Explanation, explain

__all__ = ["Explanation", "explain"]

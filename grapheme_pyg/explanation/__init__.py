"""Explanations of predictions by edges, nodes and pixels."""

from grapheme_pyg.explanation.explanation import Explanation, explain

__all__ = ["Explanation", "explain"]

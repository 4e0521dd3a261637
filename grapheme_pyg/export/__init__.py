"""Trained models for use without this library: ONNX, and programs of ``torch.export``."""

from grapheme_pyg.export.files import export_onnx, export_program, read_format
from grapheme_pyg.export.input_format import InputFormat
from grapheme_pyg.export.inputs import graph_inputs

__all__ = ["InputFormat", "export_onnx", "export_program", "graph_inputs", "read_format"]

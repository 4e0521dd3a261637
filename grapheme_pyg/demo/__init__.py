"""A page to draw on, with Gradio. Nothing but the console command imports this."""

import os

# Before Gradio is imported, which reads it then: nothing is sent to anybody.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

try:
    import gradio  # noqa: F401
    import matplotlib  # noqa: F401
    import networkx  # noqa: F401
except ImportError as error:
    raise ImportError(f'{error.name} is needed for the demo: pip install "grapheme-pyg[demo]"') from error

from grapheme_pyg.demo.launch import launch

__all__ = ["launch"]

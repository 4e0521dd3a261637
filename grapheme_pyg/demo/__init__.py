"""A page to draw on, with Gradio. Nothing but the console command imports this."""

import os

from grapheme_pyg.extras import missing

# Before Gradio is imported, which reads it then: nothing is sent to anybody.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

try:
    import gradio  # noqa: F401
    import matplotlib  # noqa: F401
    import networkx  # noqa: F401
except ImportError as error:
    raise missing(error.name, "for the demo", "demo") from error

from grapheme_pyg.demo.launch import launch

__all__ = ["launch"]

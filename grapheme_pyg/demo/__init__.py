"""The demo serves a page to draw on, made with Gradio. Only the console command imports it."""

import os

from grapheme_pyg.extras import missing

# Stops Gradio from sending usage data. It is set here because Gradio reads it when it is imported.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

try:
    import gradio  # noqa: F401
    import matplotlib  # noqa: F401
    import networkx  # noqa: F401
except ImportError as error:
    raise missing(error.name, "for the demo", "demo") from error

from grapheme_pyg.demo.launch import launch

__all__ = ["launch"]

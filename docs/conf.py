"""How the documentation is built: ``make docs``."""

import logging
import os
import sys
from pathlib import Path
from pydoc import locate
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ.setdefault("MPLBACKEND", "Agg")

from grapheme_pyg import __version__  # noqa: E402

project = "grapheme_pyg"
author = "the authors of grapheme_pyg"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "executed"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"grapheme_pyg {release}"
html_static_path = ["static"]
html_css_files = ["pages.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_copyright = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_fence_as_directive = ["python"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
add_module_names = False
strip_signature_backslash = True  # keeps the trailing underscore of scikit-learn's attributes
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Shapes"]
napoleon_use_ivar = True
python_maximum_signature_line_length = 90


# A style that furo brings makes all libraries say what they do.
for library in ("onnx_ir", "onnxscript"):
    logging.getLogger(library).setLevel(logging.WARNING)


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Element) -> Any:
    """Finds what is documented under another of its public names, as ``grapheme_pyg.nn.DagNN`` is."""
    known: Any = locate(node["reftarget"]) if node.get("refdomain") == "py" else None
    if not hasattr(known, "__qualname__"):
        return None
    name = f"{known.__module__}.{known.__qualname__}"
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, contnode)


def write_math(translator: Any, node: nodes.Element) -> None:
    """Formulas as MathML, which browsers draw by themselves: MathJax would come from the network."""
    block = isinstance(node, nodes.math_block)
    translator.body.append(tex2mathml(node.astext(), as_block=block))
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Adds both to the build."""
    app.connect("missing-reference", resolve)
    app.add_html_math_renderer("mathml", (write_math, None), (write_math, None))

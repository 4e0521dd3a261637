"""Runs the Python blocks of pages while they are read, and shows what they print and draw.

Matplotlib's ``plot`` directive does this for reStructuredText: it needs a state machine that MyST does not have, drops
what is printed, and sees no figure that was made apart from pyplot.
"""

import ast
import shutil
import traceback
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.osutil import relpath
from sphinx.util.typing import ExtensionMetadata, OptionSpec

log = logging.getLogger(__name__)
DPI = 110


class PythonBlock(SphinxDirective):
    """A block of Python; those of one page share their names and a scratch folder, as lines of one program do.

    If the last line is an expression, its value is shown: a picture if it is a figure or the axes of one, else its
    ``repr`` unless it is None.
    """

    has_content = True
    option_spec: ClassVar[OptionSpec] = {"alt": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        """The code, what it printed, and what it drew; an error is one of the build."""
        # What a page shows depends on the package too, so that it is never taken from an earlier build.
        self.env.note_reread()
        source = "\n".join(self.content)
        folder = Path(self.env.doctreedir, "executed", *self.env.docname.split("/"))
        page: Any = self.env.temp_data.setdefault("executed", {})
        if not page:
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "scratch").mkdir(parents=True)
            page.update(names={"__name__": "__main__"}, pictures=0)
        code = nodes.literal_block(source, source, language="python")
        printed = StringIO()
        try:
            with redirect_stdout(printed), chdir(folder / "scratch"):
                value = execute(source, page["names"])
        except Exception:  # whatever the code of a page may raise
            log.error("code failed:\n%s", traceback.format_exc(), location=self.get_location())
            return [code]
        if value is not None and not isinstance(value, Figure | Axes):
            print(repr(value), file=printed)
        shown: list[nodes.Node] = [code]
        if text := printed.getvalue().rstrip():
            shown.append(nodes.literal_block(text, text, language="text", classes=["output"]))
        if isinstance(value, Figure | Axes):
            page["pictures"] += 1
            path = folder / f"picture{page['pictures']}.png"
            figure = value.get_figure(root=True) if isinstance(value, Axes) else value
            assert figure is not None  # axes that were drawn on have one
            figure.savefig(path, dpi=DPI)
            place = relpath(path, Path(self.env.doc2path(self.env.docname)).parent)
            shown.append(nodes.image(uri=place, alt=self.options.get("alt", f"Drawn by {source.splitlines()[-1]}")))
        return shown


def execute(source: str, names: dict[str, Any]) -> Any:
    """Runs a program.

    Args:
        source: Its lines.
        names: Its global names, which it adds to.

    Returns:
        The value of its last line, if that is an expression; else None.
    """
    program = ast.parse(source)
    last = program.body.pop() if program.body and isinstance(program.body[-1], ast.Expr) else None
    exec(compile(program, "<page>", "exec"), names)  # noqa: S102
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), "<page>", "eval"), names)  # noqa: S307


def setup(app: Sphinx) -> ExtensionMetadata:
    """Registers the directive, which MyST uses for fences of Python too (``myst_fence_as_directive``)."""
    app.add_directive("python", PythonBlock)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

"""Pictures of graphs, predictions and training, with networkx and matplotlib."""

from grapheme_pyg.extras import missing

try:
    import matplotlib  # noqa: F401
    import networkx  # noqa: F401
except ImportError as error:
    raise missing(error.name, "to draw", "plot") from error

from grapheme_pyg.visualization.dags import draw_dag
from grapheme_pyg.visualization.evaluation import draw_calibration, draw_confusion, draw_hardest
from grapheme_pyg.visualization.explanations import draw_explanation
from grapheme_pyg.visualization.export import save_graph
from grapheme_pyg.visualization.networks import to_networkx
from grapheme_pyg.visualization.reports import draw_learning_curves, draw_predictions
from grapheme_pyg.visualization.similarities import draw_template_similarities
from grapheme_pyg.visualization.templates import draw_templates
from grapheme_pyg.visualization.weights import draw_weights

__all__ = [
    "draw_calibration",
    "draw_confusion",
    "draw_dag",
    "draw_explanation",
    "draw_hardest",
    "draw_learning_curves",
    "draw_predictions",
    "draw_template_similarities",
    "draw_templates",
    "draw_weights",
    "save_graph",
    "to_networkx",
]

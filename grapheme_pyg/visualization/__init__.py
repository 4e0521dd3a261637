"""Pictures of graphs, predictions and training, with networkx and matplotlib. Nothing else imports this."""

try:
    import matplotlib  # noqa: F401
    import networkx  # noqa: F401
except ImportError as error:
    raise ImportError(f'{error.name} is needed to draw: pip install "grapheme-pyg[plot]"') from error

from grapheme_pyg.visualization.dags import draw_dag, to_networkx
from grapheme_pyg.visualization.evaluation import draw_calibration, draw_confusion, draw_hardest
from grapheme_pyg.visualization.reports import draw_learning_curves, draw_predictions

__all__ = [
    "draw_calibration",
    "draw_confusion",
    "draw_dag",
    "draw_hardest",
    "draw_learning_curves",
    "draw_predictions",
    "to_networkx",
]

from io import BytesIO

import matplotlib as mpl
import pytest
import torch

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.names import in_csv, in_markdown, in_place, printable, shortened

mpl.use("Agg")

from matplotlib.figure import Figure

from grapheme_pyg.report import write_report
from grapheme_pyg.visualization import (
    draw_confusion,
    draw_dag,
    draw_hardest,
    draw_predictions,
    draw_template_similarities,
    draw_templates,
    save_graph,
)
from grapheme_pyg.visualization.text import as_label

# "$\frac{$" is no mathematics and raises if it is taken for some.
NAMES = ("$\\frac{$", "a_b^c", "100 %", "W" * 200, "line\nbreak", "\x1b[31mred", "猫", "<b>|*`", "caf\udce9", "אב")
IMAGES = torch.zeros(10, 12, 12, dtype=torch.uint8)
for i in range(10):
    IMAGES[i, i : i + 2, 3:9] = 255
LABELS = torch.arange(10)


@pytest.fixture(scope="module")
def model():
    made = ImageClassificationModel.from_preset("tiny")
    # No model is made with such names, but whatever is drawn can have them.
    made.classifier.classes = list(NAMES)
    return made


@pytest.mark.slow
def test_every_picture_of_odd_names_is_drawn(model):
    """nine-or-null#14 and matplotlib#20266: dollar signs in a name raise when the picture is saved."""
    graphs = [model.vision(image) for image in IMAGES]
    wrong = torch.eye(10).roll(1, 0)
    figures = [
        draw_confusion(torch.eye(10, dtype=torch.int64), NAMES).figure,
        draw_hardest(IMAGES, graphs, wrong, LABELS, NAMES),
        draw_predictions(IMAGES, graphs, NAMES, torch.ones(10), wrong, NAMES, truth=NAMES[::-1]),
        draw_template_similarities(torch.eye(10), NAMES, label=NAMES[0]).figure,
        draw_templates(model, IMAGES, LABELS).figure,
    ]
    node_types, edge_types = model.vision.metadata
    edge_types = [(source, f"{relation}\n$$", target) for source, relation, target in edge_types]
    metadata = ([f"$\\frac{{$ {name} 猫" for name in node_types], edge_types)
    figures += [
        draw_dag(graphs[0], metadata=metadata, layout="levels", color="relation").figure,
        draw_dag(graphs[0], IMAGES[0], metadata=metadata, color="relation").figure,
    ]
    for figure in figures:
        # Warnings are errors here, such as those of missing glyphs and of axes without room.
        figure.savefig(BytesIO(), dpi=30)


def test_names_in_titles_and_at_ticks():
    """nine-or-null#14: titles and labels show the names themselves."""
    ax = draw_confusion(torch.eye(10, dtype=torch.int64), NAMES)
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        r"\$\frac{\$",
        "a_b^c",
        "100 %",
        "WWWWWWWW…WWWWWWW",
        r"line\nbreak",
        r"\x1b[31mred",
        r"\u732b",
        "<b>|*`",
        r"caf\udce9",
        "\u200eאב\u200e",
    ]


def test_a_dollar_sign_is_drawn_as_itself():
    """matplotlib#20266: ``$$`` cannot be displayed."""
    figure = Figure()
    for name in ("$$", "$x$ and $y", "\\$", "$"):
        text = figure.text(0, 0, as_label(name))
        assert text._preprocess_math(text.get_text()) == (name, False)


def test_characters_of_fonts_that_are_asked_for_are_kept(monkeypatch):
    """matplotlib#20266: a name is escaped only where no font has its characters."""
    assert as_label("π ∆ ü") == "π ∆ ü"
    sans = "\U0001d5b0"  # a letter that the bold font lacks
    assert as_label(sans) == sans
    assert as_label(sans, weight="bold") == r"\U0001d5b0"
    monkeypatch.setitem(mpl.rcParams, "font.family", ["cmr10", "DejaVu Sans"])
    assert as_label("π") == "π"
    monkeypatch.setitem(mpl.rcParams, "font.family", ["cmr10"])
    assert as_label("ж") == r"\u0436"


def test_printable():
    """python-magic#144: a name that is not UTF-8 has lone surrogates, which no file takes."""
    assert printable("caf\udce9\t\x9b\u202e\u2028\xa0 é猫") == r"caf\udce9\t\x9b\u202e\u2028\xa0 é猫"


def test_links_and_formulas():
    assert (
        in_markdown("see https://a.example, www.a.example and @b") == r"see https\://a.example, www\.a.example and \@b"
    )
    formulas = ("=1+1", "+cmd|' /C calc'!A0", "-1+1", "@SUM(1)")
    assert [in_csv(name) for name in formulas] == [f"'{name}" for name in formulas]
    names = ("-1", "+2.5", "a=1", "", "'a")
    assert [in_csv(name) for name in names] == list(names)
    assert in_csv("\t=1") == r"\t=1"


def test_shortened():
    """python-magic#144: what is escaped is escaped as a whole."""
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "abc…fg"
    assert shortened("abcdefg", 1) == "…"
    assert shortened("\x1b" * 4, 16) == r"\x1b" * 4
    assert shortened("\x1b" * 5, 16) == r"\x1b\x1b…\x1b"
    assert shortened("ab\x1b", 5) == "a…"


def test_names_from_right_to_left_keep_their_places():
    """matplotlib#20266: a name is shown as it is, and truth and prediction are not exchanged."""
    assert in_place("אב") == "\u200eאב\u200e"
    assert in_place("ab") == "ab"


def test_report_and_files_of_graphs(tmp_path, model):
    """python-magic#144: one name that is not UTF-8, and nothing is written."""
    assert in_markdown("<b>|* $x$ a_b `c`") == r"\<b\>\|\* \$x\$ a\_b \`c\`"
    name = "caf\udce9 <b>\n# x"
    probabilities = torch.eye(10).roll(1, 0)
    write_report(
        tmp_path,
        name=name,
        probabilities=probabilities,
        images=IMAGES,
        labels=LABELS,
        vision=model.vision,
        classes=NAMES,
        hardest=1,
    )
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# caf\\\\udce9 \\<b\\>\\\\n\\# x\n\n|")
    assert r"\$\\frac{\$ → " in text
    metadata = ([f"{kind}\x1b\udce9" for kind in model.vision.metadata[0]], model.vision.metadata[1])
    for suffix in ("graphml", "dot"):
        save_graph(model.vision(IMAGES[0]), tmp_path / f"graph.{suffix}", metadata=metadata)
        assert r"\udce9" in (tmp_path / f"graph.{suffix}").read_text(encoding="utf-8")

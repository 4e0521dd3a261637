import pytest
import torch

from grapheme_pyg.visualization import draw_template_similarities


def test_bars_of_a_class_are_beside_one_another_in_descending_order() -> None:
    ax = draw_template_similarities(torch.tensor([[0.1, 0.5], [-0.25, -0.5]]), ["cat", "dog"], label="cat")
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([0.5, 0.1, -0.25, -0.5])
    assert [bar.get_y() + bar.get_height() / 2 for bar in ax.patches] == pytest.approx([-0.2, 0.2, 0.8, 1.2])
    cat, _, dog, other = (bar.get_facecolor() for bar in ax.patches)
    assert cat != dog == other
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["cat", "dog"]


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"similarities: expected shape \[2, templates_per_class\], got \[3, 1\]"):
        draw_template_similarities(torch.zeros(3, 1), ["cat", "dog"])
    with pytest.raises(ValueError, match="label: expected one of"):
        draw_template_similarities(torch.zeros(1, 1), ["cat"], label="dog")

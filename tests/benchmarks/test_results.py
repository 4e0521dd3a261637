"""README's table of accuracies, and the systems that ours are compared with."""

import json
from pathlib import Path

import common
import pytest
import results
import torch
from common import replace_between
from example_cnn import ExampleCNN, classify, to_input
from results import Measured, Quoted, Run, measure, spread, table

START, END = "<!-- results -->", "<!-- /results -->"
MACHINE = {"cpu": "A", "cores": 4, "threads": 2, "python": "3", "torch": "2", "torch_geometric": "1"}
# Stands for a training script: it leaves a mark each time it runs.
SCRIPT = """
import argparse, json, pathlib, sys
parser = argparse.ArgumentParser()
parser.add_argument("--run-dir", type=pathlib.Path)
parser.add_argument("--seed", type=int)
parser.add_argument("--fail", action="store_true")
arguments = parser.parse_args()
if arguments.fail:
    print("\\n".join(f"line {i}" for i in range(100)), file=sys.stderr)
    sys.exit(3)
with pathlib.Path(__file__).with_suffix(".log").open("a") as log:
    log.write(f"{arguments.seed} {sorted(path.name for path in arguments.run_dir.iterdir())}\\n")
result = {"dataset": "mnist", "test_accuracy": 0.5, "num_weights": 7, "seed": arguments.seed}
(arguments.run_dir / "test.json").write_text(json.dumps(result))
"""


def run_of(test_accuracy: float, seed: int | None = 0, **changes: object) -> Run:
    facts = {"command": "a.py", "seed": seed, "dataset": "mnist", "num_weights": 1234, "machine": MACHINE}
    facts["commit"] = "0123456f"
    return facts | {"test_accuracy": test_accuracy} | changes


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def test_mean_and_sample_standard_deviation() -> None:
    # Mean 90; deviations -1, 0 and 1; their squares add up to 2, and 2 / (3 - 1) is 1.
    assert spread([0.89, 0.90, 0.91]) == "90.00 ± 1.00 %"
    # Mean 99.5; ±0.5; 0.5 / (2 - 1) = 0.5, whose root is 0.7071.
    assert spread([0.99, 1.0]) == "99.50 ± 0.71 %"
    assert spread([0.9259]) == "92.59 %"


def test_table(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (
        Measured("good", "ours", f"{results.OURS} --preset tiny"),
        Measured("plain", "pixels", "b.py", seeds=()),
        Measured("missing", "not measured yet", "c.py"),
    )
    monkeypatch.setattr(results, "MEASURED", rows)
    monkeypatch.setattr(results, "QUOTED", (Quoted("others", "9.7", "a paper", "104 k"), Quoted("more", "97.34", "b")))
    good = [
        run_of(0.98, seed, command=rows[0].command, commit=commit)
        for seed, commit in ((0, "0123456f"), (1, "89abcdef"))
    ]
    good[1]["test_accuracy"] = 0.99
    lines = table({"good": good, "plain": [run_of(0.9, None, command="b.py", num_weights=7850)]}).splitlines()
    assert lines[:7] == [
        "| MNIST | weights | seeds | test accuracy | command or source |",
        "| --- | --- | --- | --- | --- |",
        "| others | 104 k |  | 9.7 % | quoted: a paper |",
        "| pixels | 7,850 |  | 90.00 % | `python b.py` |",
        "| more |  |  | 97.34 % | quoted: b |",
        f"| ours | 1,234 | 0, 1 | **98.50 ± 0.71 %** | `python {results.OURS} --preset tiny` |",
        "",
    ]
    remark = " ".join(lines[7:])
    assert "Measured at commits 0123456, 89abcde." in remark
    assert max(map(len, lines)) <= 120


def test_only_what_is_between_the_markers_is_replaced() -> None:
    before, after = "# A | b |\n\n", "\n\n| c |\n"
    new = replace_between(f"{before}{START}\nold\n{END}{after}", "results", "new")
    assert new == f"{before}{START}\nnew\n{END}{after}"
    assert replace_between(new, "results", "new") == new


@pytest.mark.parametrize("text", ["", START, END, f"{END}{START}", f"{START}{END}{START}", f"{START}{END}{END}"])
def test_other_markers_are_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"page: expected <!-- results -->.*, got"):
        replace_between(text, "results", "new")


def test_readme_has_the_table_of_accuracy_json() -> None:
    readme = results.README.read_text()
    replace_between(readme, "results", "")
    if results.ACCURACY.exists():
        assert replace_between(readme, "results", table(results.read_accuracy())) == readme, (
            "run `make results ARGS=--table-only`"
        )


def test_finished_runs_are_not_made_again(script: Path, tmp_path: Path) -> None:
    row = Measured("a", "", str(script))
    runs = [measure(row, seed, tmp_path / "runs") for seed in (4, 5, 4, None)]
    assert runs[0] == runs[2]
    assert runs[0] == {
        "command": str(script),
        "seed": 4,
        "dataset": "mnist",
        "num_weights": 7,
        "test_accuracy": 0.5,
        "commit": results.this_code()["commit"],
        "machine": results.this_machine(),
    }
    log = script.with_suffix(".log").read_text().splitlines()
    assert log == ["4 ['run.json']", "5 ['run.json']", "None ['run.json']"]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["a", "a-seed4", "a-seed5"]


def test_unfinished_runs_start_anew(script: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a-seed0"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "settings.json").write_text("{}")
    measure(Measured("a", "", str(script)), 0, tmp_path / "runs")
    assert script.with_suffix(".log").read_text() == "0 ['run.json']\n"


def test_failed_run_stops_with_what_it_said(script: Path, tmp_path: Path) -> None:
    with pytest.raises(ChildProcessError, match=r"^a-seed0: .* --fail ended with status 3\n(line \d\d\n){19}line 99$"):
        measure(Measured("a", "", f"{script} --fail"), 0, tmp_path / "runs")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Measured("a", "", "other.py"), "other.py"),
        (Measured("a", "", "{script}", dataset="mnist5k"), "mnist5k"),
    ],
)
def test_results_of_something_else_are_refused(row: Measured, message: str, script: Path, tmp_path: Path) -> None:
    measure(Measured("a", "", str(script)), 0, tmp_path)
    row = Measured("a", "", row.command.format(script=script), dataset=row.dataset)
    with pytest.raises(ValueError, match=f"a-seed0: expected a run of .*{message}.*, got"):
        measure(row, 0, tmp_path)


def test_incomplete_results_are_refused(script: Path, tmp_path: Path) -> None:
    row = Measured("a", "", str(script))
    measure(row, 0, tmp_path)
    path = tmp_path / "a-seed0" / "test.json"
    path.write_text(json.dumps({"dataset": "mnist", "seed": 0, "test_accuracy": 0.5}))
    with pytest.raises(ValueError, match=r"test.json: expected num_weights, too, got"):
        measure(row, 0, tmp_path)


def test_results_of_other_code_are_refused(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row, path = Measured("a", "", str(script)), tmp_path / "a.json"
    measure(row, 0, tmp_path)
    assert common.kept(path, lambda: {"accuracy": 0.5}) == {"accuracy": 0.5}
    assert common.kept(path, lambda: {"accuracy": 0.7}) == {"accuracy": 0.5}
    (tmp_path / "grapheme_pyg").mkdir()
    (tmp_path / "grapheme_pyg/changed.py").touch()
    monkeypatch.setattr(common, "ROOT", tmp_path)
    with pytest.raises(ValueError, match=r"a-seed0: expected a result of the present code, .*; delete it"):
        measure(row, 0, tmp_path)
    with pytest.raises(ValueError, match=r"a\.json: expected a result of the present code, .*; delete it"):
        common.kept(path, lambda: {"accuracy": 0.7})


def test_accuracy_json_keeps_the_order_of_rows_and_forgets_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "ACCURACY", tmp_path / "new" / "accuracy.json")
    assert results.read_accuracy() == {}
    measured = {"base": [run_of(0.9)], "gone": [run_of(0.8)], "tiny": [run_of(0.7)]}
    results.write_accuracy(measured)
    read = results.read_accuracy()
    assert list(read) == ["tiny", "base"]
    assert read["base"] == measured["base"]


def test_cnn_is_the_examples() -> None:
    cnn = ExampleCNN()
    # By hand: (9 + 1) · 32; (9 · 32 + 1) · 64; (64 · 12 · 12 + 1) · 128; (128 + 1) · 10.
    assert sum(weight.numel() for weight in cnn.parameters()) == 320 + 18_496 + 1_179_776 + 1290
    images = torch.randint(0, 256, (5, 28, 28), dtype=torch.uint8)
    assert to_input(images).shape == (5, 1, 28, 28)
    torch.testing.assert_close(to_input(images)[2, 0, 3, 4], (images[2, 3, 4] / 255 - 0.1307) / 0.3081)
    logits = classify(cnn.eval(), images, batch_size=2)
    torch.testing.assert_close(logits, cnn(to_input(images)))
    torch.testing.assert_close(logits.exp().sum(dim=1), torch.ones(5))
    with pytest.raises(ValueError, match=r"images: expected uint8 \[N, 28, 28\], got torch.float32 \[2, 28, 28\]"):
        to_input(torch.zeros(2, 28, 28))
    with pytest.raises(ValueError, match="eval mode"):
        classify(cnn.train(), images)

"""What the page on reliability says was tried, and held."""

import json

import every_promise
from harness import RESULTS


def test_the_table_is_that_of_the_results():
    assert every_promise.TABLE.read_text() == every_promise.table(RESULTS, every_promise.all_checks())


def test_every_promise_was_tried_as_often_as_is_asked_and_held():
    for check in every_promise.all_checks():
        found = json.loads((RESULTS / f"{check.name}.json").read_text())
        assert (found["asked"], found["done"], found["broken"]) == (check.count, check.count, 0), check.name
    # Asked for: at least thirty kills in the middle of a save, and each of these a real one.
    kills = json.loads((RESULTS / "kills.json").read_text())["measured"]
    assert kills["number of kills"] == 100
    assert kills["number of kills within a save"] >= 30
    assert json.loads((RESULTS / "signals.json").read_text())["measured"]["number of runs that were stopped"] == 20
    lost = json.loads((RESULTS / "lost_processes.json").read_text())["measured"]
    assert lost["number of processes that were left alone"] == 20


def test_what_is_missing_is_said(tmp_path):
    table = every_promise.table(tmp_path, every_promise.all_checks()[:1])
    assert table.endswith("| not tried yet of 100 | |\n")

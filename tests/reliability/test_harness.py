import harness
from every_promise import table
from harness import Check, main, try_cases


def odd_is_broken(number):
    if number % 2:
        raise KeyError("odd")
    return {"size": number, "number of cases": 1}


CHECK = Check("even", "numbers are even", 5, odd_is_broken)


def test_broken_promises_are_counted_with_their_case():
    outcome = try_cases(CHECK)
    assert (outcome.done, outcome.broken, outcome.measured) == (5, 2, {"size": 4, "number of cases": 3})
    assert outcome.messages == ["1: KeyError: 'odd'", "3: KeyError: 'odd'"]


def test_a_run_goes_on_where_it_was_stopped(tmp_path):
    tried = []
    check = Check("seen", "…", 6, lambda number: tried.append(number) or {})
    try_cases(check, 4, folder=tmp_path)
    assert try_cases(check, folder=tmp_path).done == 6
    assert tried == [0, 1, 2, 3, 4, 5]


def test_the_command_fails_if_a_promise_is_broken(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    assert main([CHECK], []) == 1
    assert "3 of 5; number of cases: 3; size: at most 4" in capsys.readouterr().out
    assert main([CHECK], ["--count", "1"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["even.json"]
    assert main([Check("even", "…", 1, lambda number: {})], ["--fresh"]) == 0


def test_the_table_says_what_was_and_was_not_tried(tmp_path):
    try_cases(CHECK, 3, folder=tmp_path)
    lines = table(tmp_path, [CHECK, Check("other", "others too", 1000, odd_is_broken)]).splitlines()
    assert lines[2] == "| numbers are even | 2 of 3, 5 wanted | number of cases: 2; size: at most 2 |"
    assert lines[3] == "| others too | not tried yet of 1,000 | |"

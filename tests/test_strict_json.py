import pytest

from grapheme_pyg.strict_json import parse_json


def test_values() -> None:
    assert parse_json(b' {"a": [1, -2.5, true, null, "\\u00e9,[{\\""]}\n', 0) == {"a": [1, -2.5, True, None, 'é,[{"']}
    assert parse_json(b"[1e3]", 0) == [1000.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"a": 1, "b": {"c": 1, "c": 1}}', "JSON: expected every key once, got 'c' twice"),
        (b"[NaN]", "JSON: expected finite numbers, got NaN"),
        (b"-Infinity", "JSON: expected finite numbers, got -Infinity"),
        (b"1e999", "JSON: expected finite numbers, got 1e999"),
        (b"1" * 4301, "JSON: expected integers of at most 18 digits, got one of 4301"),
        (b"-" + b"1" * 19, "JSON: expected integers of at most 18 digits, got one of 19"),
        (b"[" * 9 + b"]" * 9, "JSON: expected at most 8 nestings, got more"),
        (b'{"a":' * 4000, "JSON: expected at most 8 nestings, got more"),
        (b"[" + b"0," * 4096 + b"0]", "JSON: expected at most 4096 values, got more"),
        (b"[" + b"{}," * 4096 + b"{}]", "JSON: expected at most 4096 values, got more"),
        (b" " * 65_536 + b"1", "JSON: expected at most 65536 bytes beside weights of 0, got 65537"),
        (b"[1,]", "JSON: expected a valid text in UTF-8, got"),
        (b'"\xff"', "JSON: expected a valid text in UTF-8, got"),
        ("\ufeff1".encode(), "JSON: expected a valid text in UTF-8, got"),
        (b"1\x00", "JSON: expected a valid text in UTF-8, got"),
        (b"", "JSON: expected a valid text in UTF-8, got"),
    ],
)
def test_refused(text: bytes, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        parse_json(text, 0)


def test_larger_weights_allow_for_more() -> None:
    many = b"[" + b"0," * 4096 + b"0]"
    assert len(parse_json(many, 64 * 100)) == 4097
    with pytest.raises(ValueError, match="expected at most 16777216 bytes"):
        parse_json(bytes(2**24 + 1), 10**12)


def test_marks_in_strings_are_not_counted() -> None:
    assert parse_json(b'"' + b"[,{" * 5000 + b'\\\\"', 0) == "[,{" * 5000 + "\\"

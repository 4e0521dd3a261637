"""Names from strangers are shown, and do nothing: to terminals, to lines, to spreadsheets."""

import csv
import json
import logging
import random
import shutil
import unicodedata
import warnings
from pathlib import Path

import pytest
from cases import SEEDS, cases
from hypothesis import given
from model_mutations import join, signed, split
from PIL import Image

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.cli import main
from grapheme_pyg.datasets import load_image_folder
from grapheme_pyg.errors import GraphemeError
from grapheme_pyg.names import in_csv, in_markdown, is_name, printable
from grapheme_pyg.pretrained import CONFIG, WEIGHTS

# What writes into a clipboard, clears, forges lines, colours, turns and hides text, or is computed.
HOSTILE = (
    *("\x1b]52;c;eA==\x07", "\x1b[2J", "\na.png: one (99.9 %)", "\r", "\t", "\x9b31m", "\x00", "\x7f", "\x08"),
    *(
        "\u202e",
        "\u2066",
        "\u200f",
        "\u061c",
        "\u200b",
        "\u200d",
        "\u2060",
        "\ufeff",
        "\u2028",
        "\x85",
        "\u3164",
        "\ufe01",
    ),
    *("\U000e0041", "\udce9", "=1+1", "@x", "+a", "-a", "|", "[a](b)", "<b>", "a", "猫"),
)
READABLE = (
    *("שלום", "مرحبا", "می‌خواهم", "क्‍ष", "শক্‌তি", "র‍্যাব", "ශ්‍රී", "👩🏽‍🚀", "🏳️‍🌈", "❤️", "1️⃣", "Ünïcödé", "猫 と 犬"),
    *("नमस्ते", "ไทย", "Việt"),
)


def hostile_name(rng: random.Random) -> str:
    """Text that a file may be called, and that is not empty."""
    pieces = "".join(rng.choice(HOSTILE) for _ in range(rng.randrange(1, 6)))
    return (
        pieces.replace("/", "").replace("\0", "").encode(errors="surrogateescape")[:80].decode(errors="ignore") or "a"
    )


def check(text: str, lines: int | None = None) -> None:
    """Requires that a terminal shows a text as so many lines, and nothing else happens."""
    found = [c for c in text.replace("\n", "") if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")]
    assert found == []
    assert not {"\u3164", "\ufe01"} & set(text)
    assert lines is None or text.count("\n") == lines


@cases(200)
@given(seed=SEEDS)
def test_a_text_is_one_line_that_is_seen(seed: int) -> None:
    rng = random.Random(seed)
    text = "".join(rng.choice([*HOSTILE, *map(chr, rng.choices(range(0x110000), k=3))]) for _ in range(8))
    joined = printable(text)
    check("".join(c for c in joined if c not in "\u200c\u200d"), 0)
    assert printable(joined) == joined
    error = GraphemeError(text)
    assert str(error) == joined
    check(in_markdown("".join(c for c in text if c not in "\u200c\u200d")).strip("\u200e"), 0)
    assert in_csv(text)[:1] not in {*"=+-@\t\r"} or in_csv(text)[1:].replace(".", "", 1).isdigit()


@pytest.mark.parametrize("name", READABLE)
def test_names_of_any_language_are_readable(name: str) -> None:
    assert is_name(name)
    assert printable(name) == name


@pytest.mark.parametrize("text", ["a\u200db", "\u200da", "ab\u200c", "猫\u200d犬", "a\ufe0f", "אב\u200dאב", "👩\u200d"])
def test_joiners_that_join_nothing_are_escaped(text: str) -> None:
    assert printable(text) == text.replace("\u200d", "\\u200d").replace("\u200c", "\\u200c").replace(
        "\ufe0f", "\\ufe0f"
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    ImageClassificationModel.from_preset("tiny", ["\u202eone", "=two"]).save_pretrained(folder)
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 4))])
def test_names_of_files(
    seed: int, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(seed)
    moved = shutil.copytree(model, tmp_path / f"m{hostile_name(rng)}")
    pictures = tmp_path / f"p{hostile_name(rng)}"
    classes = [pictures / f"{i}{hostile_name(rng)}" for i in range(2)]
    for i, folder in enumerate(classes):
        folder.mkdir(parents=True)
        Image.new("L", (8, 8), 255).save(folder / f"{i}{hostile_name(rng)}.png")
        (folder / f"b{hostile_name(rng)}.png").write_bytes(b"broken")
        (folder / f"x.{hostile_name(rng)}").write_bytes(b"")
    table = tmp_path / "table.csv"
    for options, lines in (((), 2), (("--csv", table), 0), (("--json",), None)):
        code, out, err = run(capsys, "predict", moved, pictures, *options)
        assert code == 1
        check(out, lines)
        check(err.replace("\r", ""))
        assert err.count("grapheme predict: ") == 2
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert {row["label"] for row in rows} <= {"\\u202eone", "'=two", ""}
    check(table.read_text(encoding="utf-8").replace("\r", ""), 5)
    with caplog.at_level(logging.WARNING):
        load_image_folder(pictures, on_error="skip")
    assert len(caplog.records) >= 3
    for record in caplog.records:
        check(record.getMessage(), 0)
    for arguments in (
        ("predict", moved, tmp_path / hostile_name(rng)),
        ("evaluate", moved, pictures, "--on_error", "skip"),
        ("evaluate", moved, pictures),
        ("predict", moved, f"--{hostile_name(rng)}"),
        ("predict", moved, f"--top_k={hostile_name(rng)}", "a"),
        ("draw", moved, "--out", tmp_path / f"{hostile_name(rng)}.png", "--image", next(classes[0].glob("0*.png"))),
        ("info", tmp_path / hostile_name(rng)),
    ):
        code, out, err = run(capsys, *arguments)
        check(out)
        check(err)
        assert arguments[0] == "draw" or (code != 0 and err.count("grapheme ") >= 1)


@pytest.mark.parametrize("seed", range(4))
def test_names_in_models(seed: int, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(seed)
    code, out, _ = run(capsys, "info", model)
    assert code == 0
    check(out)
    assert "\\u202eone, =two" in out
    config, weights = (model / CONFIG).read_bytes(), (model / WEIGHTS).read_bytes()
    settings, (header, tensors) = json.loads(config), split(weights)
    pair = next(iter(settings["relations"]))
    tensor = next(iter(header))
    hostile = f"{hostile_name(rng)}\x1b[2J\n"
    for changed in (
        signed(settings | {hostile: 1}, weights),
        signed(settings | {"format": hostile}, weights),
        signed(settings | {"vision": settings["vision"] | {hostile: 1}}, weights),
        signed(settings | {"vision": settings["vision"] | {"mode": hostile}}, weights),
        signed(settings | {"relations": settings["relations"] | {hostile: ["a"]}}, weights),
        signed(settings | {"relations": settings["relations"] | {pair: [hostile]}}, weights),
        signed(settings | {"model": settings["model"] | {"classes": [hostile, "b"]}}, weights),
        signed(settings, join(json.dumps(header | {hostile: header[tensor]}), tensors)),
        (config.replace(b'"format"', b'"\x1b[2J'), weights),
    ):
        for name, content in zip((CONFIG, WEIGHTS), changed, strict=True):
            (tmp_path / name).write_bytes(content)
        code, out, err = run(capsys, "info", tmp_path)
        assert (code, out) == (1, "")
        check(err, 1)

"""simple_clip_lstm explain: table, picture, JSON, and what cannot be explained."""

from __future__ import annotations

import json

import pytest


def test_a_table_and_a_picture(cli, tiny, photograph, tmp_path):
    done = cli("explain", tiny, photograph, "go left", "--grid", 4, "--out", tmp_path / "seen.png")
    assert done.code == 0, done.err
    assert (tmp_path / "seen.png").stat().st_size > 10_000
    lines = done.out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("word")] == ["go", "left"]
    assert len([line for line in lines if line.startswith("part") and "from the top" in line]) == 5
    assert "told the other side" in done.out and lines[-1] == f"the picture: {tmp_path / 'seen.png'}"
    assert "untrained" in done.err


def test_json_is_one_document(cli, tiny, photograph, tmp_path):
    done = cli("explain", tiny, photograph, "go left", "--grid", 4, "--out", tmp_path / "seen.png", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert set(document["action"]) == set(document["parts"]) == set(document["other side"])
    assert [len(row) for row in document["parts"]["linear.x"]] == [4] * 4
    assert [word["word"] for word in document["words"]] == ["go", "left"]


@pytest.mark.parametrize(
    ("image", "text", "words", "why"),
    [
        ("nowhere.png", "go", [], "does not exist"),
        (__file__, "go", [], "neither an image nor a video"),
        (None, " ", [], "instruction"),
        (None, "<image> go", [], "<image>"),
        (None, "go", ["--grid", "2"], "--grid must be 4 to 32"),
        (None, "go", ["--grid", "4", "--out", "/nowhere/seen.png"], "cannot be written"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_one_line(cli, tiny, photograph, image, text, words, why):
    done = cli("explain", tiny, image or photograph, text, *words)
    assert done.code == 1 and not done.out
    assert why in done.err.strip().splitlines()[-1]

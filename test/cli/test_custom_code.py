"""Code among a checkpoint's processors is refused by name, and never runs, whatever stands on stdin."""

from __future__ import annotations

import shutil

import pytest

WORDS = {
    "inspect": (),
    "verify": (),
    "memory": (),
    "infer": ("--image", "photograph"),
    "session": (),
    "convert": ("new",),
}


@pytest.mark.parametrize("command", WORDS)
def test_a_bundle_with_code_is_refused(cli, photograph, bundle_with_code, command, tmp_path):
    bundle, marker = bundle_with_code
    words = [
        str(photograph) if word == "photograph" else tmp_path / word if word == "new" else word
        for word in WORDS[command]
    ]
    outcome = cli(command, bundle, *words, stdin=b"y\n" * 9)
    assert outcome.code == 1 and outcome.out == ""
    assert "custom.py is code" in outcome.err or "auto_map" in outcome.err
    assert not marker.exists() and not (tmp_path / "new").exists()


def test_processors_given_by_name_are_checked_too(cli, tiny, photograph, bundle_with_code):
    bundle, marker = bundle_with_code
    words = ("--image", photograph, "--processors", bundle / "processors")
    outcome = cli("infer", tiny, *words, stdin=b"y\n" * 9)
    assert outcome.code == 1 and str(bundle / "processors") in outcome.err
    assert not marker.exists()


def test_an_entry_that_names_code_is_refused_without_the_code(cli, tiny, photograph, bundle_with_code, tmp_path):
    bundle, _ = bundle_with_code
    processors = shutil.copytree(bundle / "processors", tmp_path / "processors", ignore=shutil.ignore_patterns("*.py"))
    outcome = cli("infer", tiny, "--image", photograph, "--processors", processors, stdin=b"y\n" * 9)
    assert outcome.code == 1 and "auto_map" in outcome.err

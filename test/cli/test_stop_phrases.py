"""A stop phrase is no instruction to act on: the subcommands for one model say so and give no action."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("text", ["stop", "Please halt now.", "st\u200bop", "지금 바로 멈춰 주세요"])
def test_infer_gives_no_action(cli, tiny, photograph, text):
    outcome = cli("infer", tiny, "--image", photograph, "--instruction", text)
    assert (outcome.code, outcome.out) == (1, "")
    assert "asks the robot to stop" in outcome.err


def test_session_keeps_the_instruction_before(cli, tiny, photograph):
    outcome = cli("session", tiny, "--instruction", "go home", stdin=b"instruction stop\ninstruction\n")
    assert outcome.code == 1 and "asks the robot to stop" in outcome.err
    assert outcome.out.splitlines()[-1] == "instruction: go home"

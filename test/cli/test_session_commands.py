"""The commands of a session, by plain calls: what they print, and what they leave of the state."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.cli import session_commands
from simple_clip_lstm_ros.cli.session_commands import COMMANDS, Session
from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.policy.policy import Policy
from simple_clip_lstm_ros.policy.sample_images import sample_crops

TEXT = "go to the door"


@pytest.fixture(scope="module")
def loaded(tiny: Path) -> Policy:
    return load_policy(tiny)


@pytest.fixture
def session(loaded: Policy) -> Session:
    return Session(loaded.fork(), "tiny.pth", TEXT)


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return list(sample_crops(4))


@pytest.fixture
def folder(tmp_path: Path, frames: list[np.ndarray]) -> Path:
    folder = tmp_path / "the frames"
    folder.mkdir()
    for index, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{index}.png"), frame[:, :, ::-1])
    return folder


@pytest.fixture
def say(session: Session, capsys: pytest.CaptureFixture[str]):
    """What the session answers on stdout; the command must work."""

    def say(line: str) -> str:
        assert session.run(line), capsys.readouterr().err
        shown = capsys.readouterr()
        assert shown.err == ""
        return shown.out

    return say


@pytest.fixture
def refused(session: Session, capsys: pytest.CaptureFixture[str]):
    """The one line of an error; nothing is on stdout."""

    def refused(line: str) -> str:
        assert not session.run(line)
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith("error: ")
        assert len(shown.err.splitlines()) == 1
        return shown.err

    return refused


def actions(out: str) -> list[tuple[float, ...]]:
    return [tuple(map(float, re.findall(r"[+-]\d+\.\d{4}", line))) for line in out.splitlines()]


def expected(policy: Policy, frames: list[np.ndarray], text: str = TEXT) -> list[tuple[float, ...]]:
    fresh = policy.fork()
    fresh.reset()
    return [tuple(round(value, 4) for value in fresh.step(frame, text).values) for frame in frames]


def status(out: str) -> dict[str, str]:
    return {line[:12].strip(): line[12:].strip() for line in out.splitlines()}


# --- infer ----------------------------------------------------------------------------------------------------


def test_the_hidden_state_is_carried_from_one_infer_to_the_next(say, loaded, folder, frames) -> None:
    shown = say(f"infer {folder / '0.png'}") + say(f"infer {folder / '1.png'}")
    np.testing.assert_allclose(actions(shown), expected(loaded, frames[:2]), atol=2e-4)
    assert [line.split()[-1] for line in shown.splitlines()] == ["1", "2"]


def test_a_folder_is_stepped_frame_by_frame(say, loaded, folder, frames) -> None:
    shown = say(f"infer {folder}")
    np.testing.assert_allclose(actions(shown), expected(loaded, frames), atol=2e-4)
    assert [line.split()[0] for line in shown.splitlines()] == ["0.png", "1.png", "2.png", "3.png"]


def test_quotes_home_and_letter_case_do_not_matter(say, folder, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    for line in ('INFER "~/the frames/0.png"', "  Infer\t'~/the frames/0.png' ", "infer ~/the frames/0.png"):
        assert say(line).startswith("0.png ")


def test_without_an_instruction_there_is_no_action(loaded, folder, capsys) -> None:
    session = Session(loaded.fork(), "tiny.pth")
    assert not session.run(f"infer {folder}")
    assert capsys.readouterr() == ("", "error: no instruction: instruction TEXT\n")
    assert session.run(f"instruction {TEXT}")
    assert session.run(f"infer {folder}")


def test_without_an_image_and_a_camera_there_is_no_action(refused, session) -> None:
    shown = refused("infer")
    assert "infer IMAGE" in shown and "camera DEVICE|FILE" in shown
    assert session.policy.frames_seen == 0


@pytest.mark.parametrize("held", [None, b"", b"text"], ids=["missing", "empty", "text"])
def test_what_is_no_image_is_one_line_and_the_state_stays(refused, say, session, folder, tmp_path, held) -> None:
    say(f"infer {folder / '0.png'}")
    if held is not None:
        (tmp_path / "photo.png").write_bytes(held)
    assert "photo.png" in refused(f"infer {tmp_path / 'photo.png'}")
    assert session.policy.frames_seen == 1


def test_a_name_that_is_no_text_is_refused(refused, photograph, tmp_path) -> None:
    """OpenCV's Python binding would crash on it, and take the session along."""
    path = tmp_path / "photo\udcff.png"
    path.write_bytes(photograph.read_bytes())
    assert "is not UTF-8" in refused(f"infer {path}")
    assert "is not UTF-8" in refused(f"infer {tmp_path}")


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory.\nTry less"), MemoryError(), PermissionError(13)])
def test_what_a_library_raises_does_not_end_the_session(refused, session, folder, monkeypatch, error) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(session.policy.model, "fuse", fail)
    refused(f"infer {folder}")
    assert session.policy.frames_seen == 0


def test_a_reader_that_has_gone_ends_the_session(session, monkeypatch) -> None:
    def gone(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(session_commands, "_print_line", gone)
    with pytest.raises(BrokenPipeError):
        session.run("reset")


@pytest.mark.parametrize("history", ["carry", "window"])
def test_a_cancelled_step_leaves_the_hidden_state_as_it_was(tiny, folder, frames, history, monkeypatch, capsys) -> None:
    policy = load_policy(tiny, config={"history": history})
    session = Session(policy.fork(), "tiny.pth", TEXT)
    assert session.run(f"infer {folder / '0.png'}")
    act = policy.model.act

    def interrupted(*arguments: object) -> None:
        act(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(policy.model, "act", interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.run(f"infer {folder / '3.png'}")
    session.report_cancelled()
    assert capsys.readouterr().err == "cancelled; the hidden state holds 1 frame\n"
    assert session.run(f"infer {folder / '1.png'}")
    np.testing.assert_allclose(actions(capsys.readouterr().out), expected(policy, frames[:2])[1:], atol=2e-4)


# --- instruction, reset ---------------------------------------------------------------------------------------


def test_an_instruction_is_set_shown_and_used(say, loaded, folder, frames) -> None:
    assert say("instruction") == f"instruction: {TEXT}\n"
    assert say("instruction turn  left, please ") == "instruction: turn  left, please\n"
    assert say("instruction") == "instruction: turn  left, please\n"
    shown = say(f"infer {folder / '0.png'}")
    np.testing.assert_allclose(actions(shown), expected(loaded, frames[:1], "turn  left, please"), atol=2e-4)
    assert say('instruction "go back"') == "instruction: go back\n"


def test_another_instruction_clears_the_hidden_state_and_an_equal_one_does_not(say, session, folder) -> None:
    say(f"infer {folder / '0.png'}")
    say(f"instruction {TEXT}")
    assert session.policy.frames_seen == 1
    say("instruction turn left")
    assert session.policy.frames_seen == 0


@pytest.mark.parametrize(
    ("text", "reason"), [("go <image> there", "control token <image>"), ('""', "is blank"), ("go\0", "NUL")]
)
def test_an_instruction_that_cannot_be_used_changes_nothing(refused, say, text, reason) -> None:
    assert reason in refused(f"instruction {text}")
    assert say("instruction") == f"instruction: {TEXT}\n"


def test_a_first_instruction_that_cannot_be_used_makes_no_session(loaded) -> None:
    for text in ("", "go <image> there"):
        with pytest.raises(InputError):
            Session(loaded.fork(), "tiny.pth", text)


def test_reset_clears_the_hidden_state(say, folder) -> None:
    first = say(f"infer {folder}")
    say("reset")
    assert actions(say(f"infer {folder}")) == actions(first)


# --- camera ---------------------------------------------------------------------------------------------------


def test_a_file_is_a_camera_that_ends(say, refused, loaded, folder, frames) -> None:
    assert say("camera") == "camera: none\n"
    assert say(f"camera {folder}") == f"camera: {folder}, 320 x 240\n"
    assert say("camera") == f"camera: {folder}\n"
    shown = "".join(say("infer") for _ in frames)
    np.testing.assert_allclose(actions(shown), expected(loaded, frames), atol=2e-4)
    assert f"`camera {folder}` starts it again" in refused("infer")
    say(f"camera {folder}")
    assert say("infer").startswith("0.png ")


@pytest.mark.parametrize("source", ["/nowhere.mp4", "97", "/dev/video97"])
def test_a_camera_that_does_not_open_is_none(refused, say, folder, source) -> None:
    say(f"camera {folder}")
    assert source in refused(f"camera {source}")
    assert say("camera") == "camera: none\n"
    assert "no image" in refused("infer")


# --- benchmark ------------------------------------------------------------------------------------------------


def test_benchmark_measures_the_model_and_leaves_the_state(say, session, loaded, folder, frames, monkeypatch) -> None:
    calls = []
    act = loaded.model.act
    monkeypatch.setattr(loaded.model, "act", lambda *arguments: calls.append(1) or act(*arguments))
    first = say(f"infer {folder / '0.png'}")
    calls.clear()
    shown = say("benchmark 5")
    assert len(calls) == 7, "five steps after two to warm up"
    p50, p90, largest = (float(re.search(rf"{name} (\S+) ms", shown)[1]) for name in ("p50", "p90", "max"))
    assert 0 < p50 <= p90 <= largest
    # The rate is that of the mean.
    assert 1e3 / largest * 0.9 <= float(re.search(r"(\S+) frames per second", shown)[1])
    parameters = sum(parameter.numel() for parameter in loaded.model.parameters())
    assert f"5 steps of the whole model ({parameters:,} parameters, fp32 on cpu)" in shown
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines()[2:]}
    assert {"kosmos_vision", "kosmos_text", "clip_vision", "head", "frame"} <= rows.keys()
    assert all(0.0 < float(limit) < float(seconds) for seconds, limit, _ in (rows["kosmos_text"], rows["frame"]))
    assert status(say("status"))["hidden state"] == "1 frame"
    second = say(f"infer {folder / '1.png'}")
    np.testing.assert_allclose(actions(first + second), expected(loaded, frames[:2]), atol=2e-4)


def test_benchmark_takes_ten_steps_and_needs_no_instruction(loaded, capsys) -> None:
    session = Session(loaded.fork(), "tiny.pth")
    assert session.run("benchmark")
    assert "\n10 steps " in capsys.readouterr().out
    assert session.instruction == ""


@pytest.mark.parametrize("count", ["0", "-3", "ten", "1.5", "5 5", "9" * 5000], ids=lambda count: count[:5])
def test_benchmark_refuses_what_is_no_count(refused, count) -> None:
    assert "number of steps" in refused(f"benchmark {count}")


# --- the rest -------------------------------------------------------------------------------------------------


def test_status_tells_what_is_loaded_and_set(say, folder) -> None:
    before = status(say("status"))
    assert before == {
        "checkpoint": "tiny.pth",
        "device": "cpu",
        "precision": "fp32",
        "instruction": TEXT,
        "camera": "none",
        "hidden state": "0 frames",
        "last latency": "none",
        "untrained": "yes: the actions mean nothing",
        "assumed": "nothing",
        "cut": "no",
    }
    say(f"camera {folder}")
    latency = re.search(r"(\d+ ms)  step 1", say("infer"))[1]
    after = status(say("status"))
    assert after == before | {"camera": str(folder), "hidden state": "1 frame", "last latency": latency}


def test_status_names_what_is_assumed(tiny, tmp_path, capsys) -> None:
    policy = load_policy(tiny)
    object.__setattr__(policy.config, "assumed", ("features", "prompt"))
    object.__setattr__(policy.config, "untrained", False)
    assert Session(policy, "x.pth").run("status")
    shown = status(capsys.readouterr().out)
    assert (shown["assumed"], shown["untrained"], shown["instruction"]) == ("features, prompt", "no", "none")


def test_memory_shows_the_process_and_the_machine(say) -> None:
    shown = say("memory")
    assert all(word in shown for word in ("GB", "process", "resident", "anonymous", "peak", "machine", "available"))


def test_clear_gives_memory_back(say, monkeypatch) -> None:
    cleared = []
    monkeypatch.setattr(session_commands, "clear_memory", lambda: cleared.append(1))
    monkeypatch.setattr(session_commands, "freed_bytes", lambda before, after: 12_340_000 if cleared else 0)
    assert say("clear") == "freed 12.3 MB\n"


def test_help_lists_every_command(say) -> None:
    listed = {line.split()[0] for line in say("help").splitlines()}
    assert listed == set(COMMANDS) - {"exit"}
    assert {
        "infer", "benchmark", "memory", "clear", "reset", "instruction", "camera", "status", "help", "quit",
    } == listed  # fmt: skip


@pytest.mark.parametrize("word", ["quit", "exit", "QUIT"])
def test_quit_and_exit_finish(say, session, word) -> None:
    assert not session.finished
    say(word)
    assert session.finished


@pytest.mark.parametrize("line", ["", "   ", "\t\n"])
def test_a_blank_line_is_nothing(say, line) -> None:
    assert say(line) == ""


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("infre", "unknown command 'infre'; did you mean infer?"),
        ("STATSU now", "unknown command 'STATSU'; did you mean status?"),
        ("bench 5", "unknown command 'bench'; did you mean benchmark?"),
        ("xyzzy", "unknown command 'xyzzy'; help lists the commands"),
        ("memory all", "memory takes no argument"),
    ],
)
def test_an_unknown_command_suggests_the_nearest(refused, line, answer) -> None:
    assert refused(line) == f"error: {answer}\n"


def test_what_is_typed_cannot_steer_the_terminal(refused, say, session) -> None:
    assert "\x1b" not in refused("\x1b[2Jinfer")
    session.instruction = "go \x1b[31mred"
    assert "\x1b" not in say("instruction") + say("status")

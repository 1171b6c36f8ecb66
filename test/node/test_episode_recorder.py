"""simple_clip_lstm record --format hdf5: a real process on real topics, and the files that it leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simple_clip_lstm_ros.cli.main import main
from simple_clip_lstm_ros.data.hdf5 import read_episode

pytestmark = pytest.mark.ros


@pytest.fixture
def robot(recorded_robot):
    return lambda *words: recorded_robot("--format", "hdf5", *words, stamped="--stamped" in words)


@pytest.mark.parametrize("words", [(), ("--stamped",)])
def test_a_drive_is_one_episode_without_instructions(robot, tmp_path: Path, words: tuple[str, ...]) -> None:
    started = robot(*words)
    started.show(3)  # nobody drives yet
    started.command(0.25)
    started.show(4)
    started.command(0.0)
    started.show(2)
    code, told = started.end()
    assert code == 0, told
    (path,) = tmp_path.glob("*.h5")
    assert f"{path}: 6 frames" in told
    episode = read_episode(path)
    assert episode.actions[:, 0].tolist() == [0.25] * 4 + [0.0] * 2 and not episode.actions[:, 1:].any()
    assert episode.frames()[:, 0, 0].tolist() == [[shown, 0, 255] for shown in range(4, 10)]
    assert episode.language_instruction is None and episode.action_units == "m/s, m/s, rad/s"
    assert (np.diff(episode.timestamps) > 0.04).all()


def test_each_instruction_is_an_episode_that_is_complete_when_it_ends(robot, tmp_path: Path) -> None:
    started = robot("--instruction-topic", "instruction")
    started.command(0.25)
    started.show(2)  # nothing is asked for yet
    started.say("go left")
    started.show(3)
    started.say("go right")
    started.show(2)
    assert len(list(tmp_path.glob("*.h5"))) == 1
    started.say("")
    assert len(list(tmp_path.glob("*.h5"))) == 2
    started.show(2)
    code, told = started.end()
    assert code == 0, told
    left, right = (read_episode(path) for path in sorted(tmp_path.glob("*.h5")))
    assert (left.language_instruction, len(left)) == ("go left", 3)
    assert (right.language_instruction, len(right)) == ("go right", 2)
    assert main(["episodes", str(tmp_path)]) == 0


def test_an_episode_that_cannot_be_written_on_is_told_and_the_next_one_is(robot, tmp_path: Path) -> None:
    started = robot("--instruction-topic", "instruction")
    started.command(0.25)
    started.say("go left")
    started.show(2)
    started.show(2, size=(4, 4))
    started.say("go right")
    started.show(2)
    code, told = started.end()
    assert code == 0 and "not uint8 [6, 8, 3]" in told
    (path,) = tmp_path.glob("*.h5")
    assert read_episode(path).language_instruction == "go right"
    assert list(tmp_path.iterdir()) == [path]


def test_where_nothing_came_it_says_why(robot, tmp_path: Path) -> None:
    started = robot()
    started.show(3)
    code, told = started.end()
    assert code == 0 and "nothing was recorded: no command in it" in told and not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["record", str(tmp_path / "nowhere"), "--format", "hdf5"]) == 1
    assert "is not a folder" in capsys.readouterr().err

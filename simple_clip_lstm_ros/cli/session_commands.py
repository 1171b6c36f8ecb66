"""The commands of the interactive session, independent of the terminal: policy, instruction and camera."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from simple_clip_lstm_ros.benchmark.environment import DevicePeak, measure_peak
from simple_clip_lstm_ros.benchmark.module_timer import ModuleTimer
from simple_clip_lstm_ros.benchmark.result import summarize, to_plain
from simple_clip_lstm_ros.benchmark.roofline import frame_cost, lower_bounds
from simple_clip_lstm_ros.benchmark.step_profile import StepProfile, profile_step
from simple_clip_lstm_ros.cli.benchmark_tables import config_table
from simple_clip_lstm_ros.cli.frame_source import FrameSource, open_source, read_frames
from simple_clip_lstm_ros.cli.infer import format_action
from simple_clip_lstm_ros.cli.options import steps_progress
from simple_clip_lstm_ros.cli.tables import make_console, memory_table
from simple_clip_lstm_ros.engine.memory import clear_memory, freed_bytes, read_memory
from simple_clip_lstm_ros.errors import InputError, SimpleClipLstmError, first_line, printable
from simple_clip_lstm_ros.policy.policy import Policy
from simple_clip_lstm_ros.policy.sample_images import sample_crops

_WARM_UP = 2  # steps that a benchmark does not count
_BENCHMARK_TEXT = "go forward"  # the time does not depend on the text


class Session:
    """A loaded policy, its instruction and a camera. Raises InputError for an instruction that cannot be used."""

    def __init__(self, policy: Policy, checkpoint: str, instruction: str | None = None) -> None:
        self.policy = policy
        self.checkpoint = checkpoint
        self.instruction = ""
        self.camera: FrameSource | None = None
        self.latency: float | None = None
        self.finished = False
        self._peak: DevicePeak | None = None
        if instruction is not None:
            self._set_instruction(instruction)

    def run(self, line: str) -> bool:
        """Run one command line and return whether it succeeded.

        An error is printed as one line on stderr.
        """
        if not line.strip():
            return True
        word, *rest = line.split(maxsplit=1)
        try:
            self._run_command(word, rest[0].strip() if rest else "")
        except BrokenPipeError:
            raise
        # Errors of the system and of libraries (no permission, out of memory) must not lose the loaded model.
        except (SimpleClipLstmError, OSError, RuntimeError, MemoryError) as error:
            print(f"error: {printable(first_line(error))}", file=sys.stderr, flush=True)
            return False
        return True

    def report_cancelled(self) -> None:
        """Print that Ctrl-C ended a command; an interrupted step leaves the hidden state unchanged."""
        print(f"cancelled; the hidden state holds {_frames(self.policy.frames_seen)}", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.camera:
            camera, self.camera = self.camera, None
            camera.close()

    def _run_command(self, word: str, rest: str) -> None:
        command = COMMANDS.get(word.lower())
        if command is None:
            matches = difflib.get_close_matches(word.lower(), COMMANDS, n=1)
            hint = f"did you mean {matches[0]}?" if matches else "help lists the commands"
            raise InputError(f"unknown command {word!r}; {hint}")
        if rest and " " not in command.usage:
            raise InputError(f"{command.usage} takes no argument")
        command.run(self, rest)

    # --- the commands ---------------------------------------------------------------------------------------------

    def infer(self, path: str) -> None:
        if not self.instruction:
            raise InputError("no instruction: instruction TEXT")
        frames = read_frames(Path(_expand(path))) if path else self._next_frame()
        for name, frame in frames:
            # Step a fork, so that Ctrl-C leaves the hidden state unchanged.
            policy = self.policy.fork()
            action = policy.step(frame, self.instruction)
            self.policy, self.latency = policy, action.latency
            _print_line(format_action(name, action, policy.config.action_axes))

    def _next_frame(self) -> Iterator[tuple[str, np.ndarray]]:
        if self.camera is None:
            raise InputError("no image: infer IMAGE, or open a camera first: camera DEVICE|FILE")
        return iter([self.camera.next()])

    def benchmark(self, count: str) -> None:
        steps = _parse_count(count) if count else 10
        policy = self.policy.fork()
        text = self.instruction or _BENCHMARK_TEXT
        profiles = []
        with steps_progress() as progress, ModuleTimer(policy.model) as timer:
            task = progress.add_task("benchmark", total=_WARM_UP + steps)
            for frame in sample_crops(_WARM_UP + steps):
                profiles.append(profile_step(policy, timer, frame, text))
                progress.advance(task)
        self._print_benchmark(policy, text, profiles[_WARM_UP:])

    def _print_benchmark(self, policy: Policy, text: str, profiles: list[StepProfile]) -> None:
        p50, p90, largest = np.percentile([each.seconds for each in profiles], (50, 90, 100)) * 1e3
        rate = len(profiles) / sum(each.seconds for each in profiles)
        _print_line(f"p50 {p50:.1f} ms  p90 {p90:.1f} ms  max {largest:.1f} ms  {rate:.2f} frames per second")
        _print_line(
            f"{len(profiles)} steps of the whole model ({describe_policy(policy)}) on crops of photographs, "
            f"after {_WARM_UP} to warm up; the session's hidden state is as before"
        )
        if self._peak is None:
            self._peak = measure_peak(policy.device)
        limits = lower_bounds(frame_cost(policy.config, policy.text_tokens(text)), self._peak, policy.precision)
        _print_table(config_table(to_plain(summarize(profiles, limits, policy.config.action_axes, None))))

    def memory(self, _: str) -> None:
        _print_table(memory_table(read_memory(self.policy.device)))

    def clear(self, _: str) -> None:
        before = read_memory(self.policy.device)
        clear_memory()
        _print_line(f"freed {freed_bytes(before, read_memory(self.policy.device)) / 1e6:.1f} MB")

    def reset(self, _: str) -> None:
        self.policy.reset()
        _print_line("the hidden state is cleared")

    def set_or_show_instruction(self, text: str) -> None:
        if text:
            self._set_instruction(_unquote(text))
        _print_line(f"instruction: {self.instruction or 'none'}")

    def _set_instruction(self, text: str) -> None:
        error = self.policy.validate_instruction(text)
        if error:
            raise InputError(error)
        if text != self.instruction:
            self.policy.reset()  # as the next step would: the hidden state belongs to the old instruction
        self.instruction = text

    def open_or_show_camera(self, source: str) -> None:
        if not source:
            _print_line(f"camera: {self.camera.source if self.camera else 'none'}")
            return
        self.close()  # a device opens only once
        camera = open_source(_expand(source))
        try:
            height, width = camera.peek().shape[:2]
        except BaseException:  # KeyboardInterrupt too
            camera.close()
            raise
        self.camera = camera
        _print_line(f"camera: {camera.source}, {width} x {height}")

    def status(self, _: str) -> None:
        table = Table(show_header=False, box=None, pad_edge=False)
        config = self.policy.config
        rows = {
            "checkpoint": self.checkpoint,
            "device": str(self.policy.device),
            "precision": self.policy.precision,
            "instruction": self.instruction or "none",
            "camera": self.camera.source if self.camera else "none",
            "hidden state": _frames(self.policy.frames_seen),
            "last latency": "none" if self.latency is None else f"{self.latency * 1e3:.0f} ms",
            "untrained": "yes: the actions mean nothing" if config.untrained else "no",
            "assumed": ", ".join(config.assumed) or "nothing",
            "cut": config.reductions or "no",
        }
        for name, value in rows.items():
            table.add_row(name, printable(value))
        _print_table(table)

    def help(self, _: str) -> None:
        table = Table(show_header=False, box=None, pad_edge=False)
        for command in dict.fromkeys(COMMANDS.values()):
            table.add_row(command.usage, command.meaning)
        _print_table(table)

    def quit(self, _: str) -> None:
        self.finished = True


@dataclass(frozen=True)
class Command:
    """A command of the session: its usage, its help, and the method that runs it."""

    usage: str
    meaning: str
    run: Callable[[Session, str], None]
    takes_path: bool = False


_QUIT = Command("quit", "leave, as Ctrl-D and exit do", Session.quit)
COMMANDS = {
    "infer": Command(
        "infer [IMAGE]", "act on an image, a folder, a video, or the camera's next frame", Session.infer, True
    ),
    "benchmark": Command(
        "benchmark [N]", "how long N steps take, and take at least here; default 10", Session.benchmark
    ),
    "memory": Command("memory", "of the process, the machine and the GPU", Session.memory),
    "clear": Command("clear", "give back memory that is held without need", Session.clear),
    "reset": Command("reset", "clear the hidden state", Session.reset),
    "instruction": Command("instruction [TEXT]", "set it, or show it", Session.set_or_show_instruction),
    "camera": Command(
        "camera [DEVICE|FILE]", "open 0, /dev/video0, an image, ...; or show it", Session.open_or_show_camera, True
    ),
    "status": Command("status", "what is loaded and set", Session.status),
    "help": Command("help", "this list", Session.help),
    "quit": _QUIT,
    "exit": _QUIT,
}


def describe_policy(policy: Policy) -> str:
    parameters = sum(parameter.numel() for parameter in policy.model.parameters())
    return f"{parameters:,} parameters, {policy.precision} on {policy.device}"


def _parse_count(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise InputError(f"benchmark takes a number of steps above 0, not {text!r}")
    return int(text)


def _unquote(text: str) -> str:
    quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if quoted else text


def _expand(path: str) -> str:
    return os.path.expanduser(_unquote(path))


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


def _print_line(line: str) -> None:
    print(printable(line), flush=True)


def _print_table(table: Table) -> None:
    make_console().print(table)
    sys.stdout.flush()

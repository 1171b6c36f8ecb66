"""A long drive: `python test/faults/soak.py --minutes 30`. Rates while it loads, drives and is reset; growth over time.

Ends with 1 if memory grows by 5 MB after the first minute, threads or descriptors do not stay, or commands come late.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parents[1] / "node"))
from rich.console import Console
from robot import Record, Robot
from std_srvs.srv import Trigger
from watch import machine

from simple_clip_lstm_ros.checkpoint.random_checkpoint import write_random_checkpoint

_PERIOD = 0.05  # s, of commands
_ON_TIME = 0.2  # of it
_SAMPLE = 10.0  # s
_LEAST = 0.99  # of intervals on time
_MOST = 5.0  # MB


@dataclass(frozen=True)
class Rate:
    """Of commands: how many intervals, how many Hz, and which share of intervals is within a fifth of the period."""

    what: str
    intervals: int
    hz: float
    on_time: float

    @property
    def is_fine(self) -> bool:
        return self.on_time >= _LEAST


@dataclass(frozen=True)
class Sample:
    """Of one process: MB resident, and what it holds."""

    seconds: float
    process: str
    resident: float
    threads: int
    descriptors: int


def rate(what: str, record: Record) -> Rate:
    gaps = [late - early for (early, _), (late, _) in pairwise(record)]
    on_time = sum(abs(gap - _PERIOD) <= _ON_TIME * _PERIOD for gap in gaps)
    return Rate(what, len(gaps), len(gaps) / sum(gaps), on_time / len(gaps))


def rate_while_loading(robot: Robot) -> Rate:
    """The guard's output, from before the inference process starts until it is active."""
    robot.processes.start("guard")
    robot.until(lambda: robot.commands, "the guard", 20.0)
    robot.forget()
    robot.get_going()
    begin = next(at for at, axes in robot.raw)
    return rate("guard, while the model loads", [(at, axes) for at, axes in robot.commands if at < begin])


def rate_while_reset(robot: Robot, seconds: float) -> Rate:
    robot.forget()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        robot.call("inference/reset", Trigger.Request())
        time.sleep(0.2)
    return rate("node, while it steps and is reset", robot.raw)


def drive(robot: Robot, seconds: float) -> tuple[list[Sample], list[Rate]]:
    """Samples over the whole drive, and the rate in each minute of it."""
    begin = time.monotonic()
    samples: list[Sample] = []
    rates: list[Rate] = []
    while (now := time.monotonic() - begin) < seconds:
        robot.forget()
        end = begin + min(now + 60.0, seconds)
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(_SAMPLE, left))
            for name in ("inference", "guard"):
                process = robot.processes.process(name)
                resident = process.memory_info().rss / 1e6
                at = time.monotonic() - begin
                samples.append(Sample(at, name, resident, process.num_threads(), process.num_fds()))
        rates.append(rate(f"base, from minute {now / 60:.0f} on", robot.commands))
    return samples, rates


def growth(samples: list[Sample], process: str) -> tuple[float, int, int]:
    """Since the first sample after a minute: MB at the most, threads and descriptors at the end."""
    after = [sample for sample in samples if sample.process == process and sample.seconds >= 60.0]
    after = after or [sample for sample in samples if sample.process == process]
    first, last = after[0], after[-1]
    largest = max(sample.resident for sample in after)
    return largest - first.resident, last.threads - first.threads, last.descriptors - first.descriptors


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--checkpoint", type=Path, help="with its processors beside it; default: a tiny one")
    parser.add_argument("--json", action="store_true", help="one document on stdout, progress on stderr")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak_") as folder, Console(stderr=True).status("driving"):
        checkpoint = options.checkpoint or Path(folder) / "tiny.pth"
        if options.checkpoint is None:
            write_random_checkpoint("tiny", checkpoint)
        with Robot(Path(folder), checkpoint, lifetime=int(options.minutes * 60) + 600) as robot:
            rates = [rate_while_loading(robot), rate_while_reset(robot, 20.0)]
            samples, minutes = drive(robot, options.minutes * 60.0)
            report = json.loads(robot.call("inference/report", Trigger.Request()).message)
    grown = {name: growth(samples, name) for name in ("inference", "guard")}
    slowest = min(minutes, key=lambda each: each.on_time)
    is_fine = all(each.is_fine for each in (*rates, slowest))
    is_fine &= all(size < _MOST and threads <= 0 and files <= 0 for size, threads, files in grown.values())
    if options.json:
        everything = {"machine": machine(), "rates": [asdict(each) for each in (*rates, *minutes)], "growth": grown}
        print(json.dumps({**everything, "samples": [asdict(each) for each in samples], "report": report}))
    else:
        print("| commands | intervals | Hz | within 20 % |\n|---|---|---|---|")
        for each in (*rates, slowest, minutes[-1]):
            print(f"| {each.what} | {each.intervals} | {each.hz:.2f} | {100 * each.on_time:.2f} % |")
        print("\n| process | grows by MB | threads | descriptors |\n|---|---|---|---|")
        for name, (size, threads, files) in grown.items():
            print(f"| {name} | {size:+.1f} | {threads:+d} | {files:+d} |")
        print(f"\n{options.minutes:g} minutes; {machine()}")
    return 0 if is_fine else 1


if __name__ == "__main__":
    sys.exit(main())

"""The fault campaign: `python test/faults/run.py --runs 20`. Prints a table; ends with 1 if the robot broke a rule.

See docs/safety.md for the rules that it holds the robot to.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parents[1] / "node"))
from campaign import Result, run
from faults import FAULTS, Fault
from processes import NoGroup
from rich.console import Console
from robot import Robot
from watch import machine

from simple_clip_lstm_ros.checkpoint.random_checkpoint import write_random_checkpoint


def results(faults: Sequence[Fault], runs: int, folder: Path) -> Iterator[Result]:
    """Each fault in its turn, on a robot of its own."""
    write_random_checkpoint("tiny", folder / "tiny.pth")
    for number, fault in enumerate(faults):
        logs = folder / f"logs-{number}"
        logs.mkdir()
        with Robot(logs, folder / "tiny.pth", sim_time=fault.sim_time) as robot:
            try:
                result = run(robot, fault, runs)
            except (NoGroup, TimeoutError, AssertionError) as error:
                result = Result(fault, problems=[f"not done: {error}"])
        yield result


def as_row(result: Result) -> str:
    fault = result.fault
    ends = {"zero": "zero", "blink": "zero", "silence": "last command", "warning": "WARN"}[fault.ends]
    verdict = "yes" if result.is_fine else "; ".join(result.problems[:3]) or "no"
    middle = sorted(result.times)[len(result.times) // 2] if result.times else float("nan")
    return (
        f"| {fault.name} | {ends} | {len(result.times)} | {result.repeated} | {middle:.3f} | {result.worst:.3f} "
        f"| {fault.limit:.3f} | {verdict} |"
    )


def as_json(result: Result) -> dict[str, object]:
    return {
        "fault": result.fault.name,
        "until": result.fault.ends,
        "limit": result.fault.limit,
        "times": result.times,
        "repeated": result.repeated,
        "problems": result.problems,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="of each fault, at random moments")
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="WORD", help="faults whose name contains one of these"
    )
    parser.add_argument("--json", action="store_true", help="one document on stdout, progress on stderr")
    options = parser.parse_args()
    faults = [fault for fault in FAULTS if any(word in fault.name for word in options.only)]
    if not faults or options.runs < 1:
        parser.error(f"--only fits none of: {', '.join(fault.name for fault in FAULTS)}" if not faults else "--runs")
    progress = Console(stderr=True)
    done: list[Result] = []
    if not options.json:
        print("| fault | until | runs | repeated | median s | worst s | limit s | fine |")
        print("|---|---|---|---|---|---|---|---|")
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults_") as folder, progress.status("starting") as status:
        for result in results(faults, options.runs, Path(folder)):
            done.append(result)
            if not options.json:
                print(as_row(result), flush=True)
            left = [fault.name for fault in faults[len(done) :]]
            status.update(f"{len(done)} of {len(faults)}, next: {left[0] if left else ''}")
    where = f"{machine()}, {time.monotonic() - begin:.0f} s"
    print(json.dumps({"machine": where, "faults": [as_json(result) for result in done]}) if options.json else where)
    return 0 if all(result.is_fine for result in done) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Check whether this machine is fit to drive; each problem is printed with its fix.

Checks Python and its libraries, GPU, ROS middleware, domain and transport, memory, disk and cameras; on a Jetson also
temperature and power mode; and whether a CHECKPOINT is complete, trained and fits. It takes about ten seconds, sends
images on a topic of its own, and moves nothing. Run it where the nodes run: in their container, with their environment.
Exit code 1 if a check fails.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import asdict

from rich.text import Text

from simple_clip_lstm_ros.cli.options import (
    CHECKPOINT,
    add_json_option,
    add_policy_options,
    bytes_progress,
    print_json,
    survey_from_args,
)
from simple_clip_lstm_ros.cli.tables import make_console
from simple_clip_lstm_ros.doctor.finding import Finding, Host, Verdict
from simple_clip_lstm_ros.doctor.libraries import check_libraries
from simple_clip_lstm_ros.doctor.resources import check_cameras, check_checkpoint, check_machine
from simple_clip_lstm_ros.doctor.transport import check_transport
from simple_clip_lstm_ros.errors import SimpleClipLstmError, printable

_STYLES = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.ERROR: "bold red", Verdict.SKIPPED: "dim"}
_NEEDED_BY_MODEL = ("torch works", "model's code")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", help=CHECKPOINT)
    parser.add_argument("--camera", metavar="N", help="also look through this camera, as 0 or /dev/video0")
    parser.add_argument("--image-topic", metavar="TOPIC", help="also listen to the robot's camera for two seconds")
    add_policy_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> None:
    findings = []
    for finding in _run_checks(args):
        findings.append(finding)
        if not args.json:
            _print_finding(finding)
    failed = [each.check for each in findings if each.verdict is Verdict.ERROR]
    if args.json:
        print_json({"safe": not failed, "findings": [asdict(each) for each in findings]})
    if failed:
        raise SimpleClipLstmError(f"{len(failed)} checks failed: {', '.join(failed)} (the fix is next to each)")
    if not args.json:
        hint = "" if args.checkpoint else "; name a CHECKPOINT to have it looked at, too"
        print(f"all checks passed{hint}")


def _run_checks(args: argparse.Namespace) -> Iterator[Finding]:
    host = Host()
    library_findings = []
    for finding in check_libraries(host):
        library_findings.append(finding)
        yield finding
    yield from itertools.chain(
        check_machine(host), check_transport(host, args.image_topic), check_cameras(host, args.camera)
    )
    if not args.checkpoint:
        return
    if any(each.check in _NEEDED_BY_MODEL and each.verdict is Verdict.ERROR for each in library_findings):
        yield Finding("checkpoint", Verdict.SKIPPED, "what the model needs does not work here")
        return
    with bytes_progress() as progress:
        task = progress.add_task("checksums", total=None)
        yield from check_checkpoint(
            args.checkpoint,
            lambda: survey_from_args(args),
            lambda candidates: candidates.choose(args.precision, args.engine),
            lambda done, total: progress.update(task, completed=done, total=total),
        )


def _print_finding(finding: Finding) -> None:
    line = Text(f"{finding.verdict.value:7} ", style=_STYLES[finding.verdict])
    line.append(f"{finding.check}: ", style="bold").append(printable(finding.says), style="not bold default")
    if finding.remedy:
        line.append(f"\n        -> {finding.remedy}", style="not bold default")
    make_console().print(line)

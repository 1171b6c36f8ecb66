"""The checkpoint: whole, with its tokenizers, within memory, trained, and with its recipe stated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from simple_clip_lstm_ros.cli.checks.finding import Finding, Verdict
from simple_clip_lstm_ros.errors import SimpleClipLstmError

if TYPE_CHECKING:
    import argparse

    from simple_clip_lstm_ros.checkpoint.plan import Survey


def model(args: argparse.Namespace, report: Callable[[int, int], None]) -> Iterator[Finding]:
    """Of add_policy_options' arguments, on a machine whose torch works. `report` is told bytes read and in all."""
    from simple_clip_lstm_ros.cli.options import surveyed

    yield _checksums(args.checkpoint, report)
    try:
        found = surveyed(args)
    except SimpleClipLstmError as error:
        remedy = f"simple_clip_lstm inspect {args.checkpoint}"
        yield Finding("checkpoint", Verdict.ERROR, str(error), remedy)
        return
    config = found.blueprint.config
    yield Finding("checkpoint", Verdict.OK, f"{args.checkpoint}, with its tokenizers, read without a network")
    yield _memory(args, found)
    if config.untrained:
        remedy = "name the checkpoint that your training wrote"
        yield Finding("trained", Verdict.ERROR, "these weights are random: the node commands zero", remedy)
    else:
        yield Finding("trained", Verdict.OK, "the file does not call itself untrained")
    if config.assumed:
        remedy = f"`simple_clip_lstm inspect {args.checkpoint}`, then state them with --config (policy_config:=)"
        yield Finding("recipe", Verdict.WARN, f"assumed: {', '.join(config.assumed)}", remedy)
    else:
        yield Finding("recipe", Verdict.OK, "stated")


def _checksums(checkpoint: str, report: Callable[[int, int], None]) -> Finding:
    from simple_clip_lstm_ros.checkpoint.verify import verify

    if Path(checkpoint).is_file():
        return Finding("checksums", Verdict.SKIPPED, "a .pth file has none: `convert` makes a bundle, which has")
    try:
        verified = verify(Path(checkpoint), report)
    except SimpleClipLstmError as error:
        return Finding("checksums", Verdict.ERROR, str(error), "copy the bundle again")
    if verified.broken:
        remedy = f"`simple_clip_lstm verify {checkpoint}` lists them: copy these again"
        return Finding("checksums", Verdict.ERROR, str(verified), remedy)
    return Finding("checksums", Verdict.OK, f"{len(verified.files)} files are as they were written")


def _memory(args: argparse.Namespace, found: Survey) -> Finding:
    try:
        plan = found.choose(args.precision, args.engine)
    except SimpleClipLstmError as error:
        return Finding("memory for it", Verdict.ERROR, str(error), f"simple_clip_lstm memory {args.checkpoint}")
    return Finding("memory for it", Verdict.OK, f"needs {plan.need}: {plan.why}")

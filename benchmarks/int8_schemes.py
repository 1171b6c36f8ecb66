"""Compare torchao's int8 schemes for these layers with float32: accuracy, memory of the weights, time of a step.

    python benchmarks/int8_schemes.py CHECKPOINT --processors DIR

Prints a Markdown table; needs memory for the mapped file and a bfloat16 copy. The chosen one is in
`engine/quantization.py`: weight-only, one scale per row, computed in bfloat16.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, PerGroup, quantize_
from watch import machine

from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.engine.output_error import OutputTrace, compare_outputs, trace_outputs
from simple_clip_lstm_ros.policy.policy import Policy
from simple_clip_lstm_ros.policy.sample_images import sample_crops

# Name, compute dtype, torchao's configuration.
_SCHEMES: tuple[tuple[str, str, Any], ...] = (
    ("bfloat16, no int8", "bf16", None),
    ("weights, a scale a row, in bfloat16", "bf16", Int8WeightOnlyConfig()),
    ("weights, a scale a row, in float32", "fp32", Int8WeightOnlyConfig()),
    ("weights, a scale each 128, in bfloat16", "bf16", Int8WeightOnlyConfig(granularity=PerGroup(128))),
    ("weights and activations (a token), in bfloat16", "bf16", Int8DynamicActivationInt8WeightConfig()),
    ("weights and activations (a token), in float32", "fp32", Int8DynamicActivationInt8WeightConfig()),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--processors", type=Path)
    parser.add_argument("--frames", type=int, default=8)
    args = parser.parse_args()
    reference, _ = _trace(
        load_policy(args.checkpoint, processors=args.processors, precision="fp32", engine="eager"), args.frames
    )
    print(f"{machine()}; {args.frames} frames\n")
    names = [*reference.features, *(f"action {axis}" for axis in reference.axes)]
    print(f"| scheme | encoders GB | step s | {' | '.join(names)} |\n{'|---' * (3 + len(names))}|")
    for name, precision, config in _SCHEMES:
        policy = load_policy(args.checkpoint, processors=args.processors, precision=precision, engine="eager")
        if config is not None:
            for encoder in filter(None, (policy.model.kosmos_model, policy.model.clip_model)):
                quantize_(encoder, config, filter_fn=lambda module, _: isinstance(module, nn.Linear))
        trace, seconds = _trace(policy, args.frames)
        errors = compare_outputs(reference, trace)
        cells = " | ".join(f"{error:.2%}" for error in (*errors.features.values(), *errors.actions.values()))
        print(f"| {name} | {sum(_sizes(policy)) / 1e9:.2f} | {seconds:.2f} | {cells} |", flush=True)
        del policy


def _trace(policy: Policy, frames: int) -> tuple[OutputTrace, float]:
    """Return the outputs and the median seconds of a frame.

    The first frame reads the weights and is not counted.
    """
    stamps = [time.perf_counter()]
    trace = trace_outputs(policy, sample_crops(frames), stepped=lambda: stamps.append(time.perf_counter()))
    return trace, statistics.median([b - a for a, b in pairwise(stamps)][1:])


def _sizes(policy: Policy) -> Iterator[int]:
    for name, tensor in policy.model.named_parameters():
        if name.startswith(("kosmos_model.", "clip_model.")):
            parts = [getattr(tensor, part) for part in ("qdata", "scale") if hasattr(tensor, part)] or [tensor]
            yield from (part.numel() * part.element_size() for part in parts if isinstance(part, torch.Tensor))


if __name__ == "__main__":
    main()

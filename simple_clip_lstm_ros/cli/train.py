"""Train a checkpoint on recorded episodes: fusion, LSTM and head on the features of frozen encoders, or all weights.

Writes FILE.pth with its processors, as the original trainer does, and the bundle FILE. Every fifth episode is for
validation: its frames are never trained on, and the written weights are those with the least validation error. The
error of the best constant is printed next to it: a model that is no better has learned nothing.

Several GPUs or machines: accelerate launch -m simple_clip_lstm_ros.cli.main train ...
"""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simple_clip_lstm_ros.checkpoint.user_input import resolve_path
from simple_clip_lstm_ros.cli.options import (
    add_config_options,
    add_device_options,
    add_episode_label_options,
    add_json_option,
    load_with_progress,
    print_json,
    steps_progress,
)
from simple_clip_lstm_ros.cli.tables import make_console, new_table
from simple_clip_lstm_ros.errors import ConfigError, printable

if TYPE_CHECKING:
    from rich.table import Table

    from simple_clip_lstm_ros.data.dataset import LabelledEpisode
    from simple_clip_lstm_ros.evaluation.metrics import ErrorSummary
    from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM
    from simple_clip_lstm_ros.policy.preprocessing import ImagePreprocessor
    from simple_clip_lstm_ros.training.feature_extractor import FeatureExtractor
    from simple_clip_lstm_ros.training.sequences import Example
    from simple_clip_lstm_ros.training.trainer import Trainer

_SUFFIX = ".pth"
# Options that must be the same to resume a training run.
_RUN_OPTIONS = (
    "data",
    "checkpoint",
    "encoders",
    "mirror",
    "epochs",
    "batch",
    "learning_rate",
    "seed",
    "action_scale",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", type=Path, help="a folder of .h5 episodes, at any depth")
    parser.add_argument("--checkpoint", metavar="BASE", required=True, help="where to start: a .pth or a bundle")
    parser.add_argument("--out", metavar="FILE.pth", type=Path, required=True, help="what to write")
    parser.add_argument("--resume", action="store_true", help="go on where the same command was interrupted")
    parser.add_argument("--encoders", choices=("frozen", "trained"), default="frozen", help="default: %(default)s")
    parser.add_argument(
        "--mirror", action="store_true", help="also learn from left and right exchanged, texts included"
    )
    parser.add_argument("--epochs", type=_positive, default=50, help="at most; default: %(default)s")
    parser.add_argument(
        "--patience", metavar="N", type=_positive, default=10, help="epochs without a better one; default: %(default)s"
    )
    parser.add_argument(
        "--batch", metavar="N", type=_positive, default=4, help="episodes at a time; default: %(default)s"
    )
    parser.add_argument("--learning-rate", metavar="R", type=float, default=1e-3, help="default: %(default)s")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of split and order; default: %(default)s")
    add_episode_label_options(parser)
    add_device_options(parser)
    add_config_options(parser)
    add_json_option(parser)


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return number


def run(args: argparse.Namespace) -> None:
    from simple_clip_lstm_ros.checkpoint.convert import convert
    from simple_clip_lstm_ros.checkpoint.save import check_free, save_checkpoint
    from simple_clip_lstm_ros.files import check_writable
    from simple_clip_lstm_ros.policy.processor_files import find_processors

    _check_options(args)
    check_free(args.out, 0)
    check_writable(args.out.with_suffix(""), 0)
    trainer, model, skipped = _prepare(args)
    _run_epochs(args, trainer)
    trainer.finish()
    if not trainer.is_main_process:
        return
    save_checkpoint(
        model,
        args.out,
        find_processors(resolve_path(args.checkpoint), args.processors),
        epoch=trainer.best_epoch,
        val_mae=trainer.best.overall.error,
        optimizer=trainer.optimizer_state,
        settings={name: str(value) for name, value in vars(args).items()},
    )
    convert(args.out, args.out.with_suffix(""))
    _state_file(args).unlink(missing_ok=True)
    _log_result(args, trainer, skipped)


def _check_options(args: argparse.Namespace) -> None:
    if args.out.suffix != _SUFFIX:
        raise ConfigError(f"--out {args.out}: name a {_SUFFIX} file; the bundle gets its name without that")
    if not 0.0 < args.learning_rate < 1.0:
        raise ConfigError(f"--learning-rate must be above 0 and below 1, not {args.learning_rate:g}")
    if args.resume and not _state_file(args).exists():
        raise ConfigError(f"--resume: there is no {_state_file(args)}, so there is nothing to resume; leave it out")


def _prepare(args: argparse.Namespace) -> tuple[Trainer, SimpleCLIPLSTM, dict[str, str]]:
    import torch

    from simple_clip_lstm_ros.data.dataset import read_dataset
    from simple_clip_lstm_ros.data.dataset_stats import find_episodes
    from simple_clip_lstm_ros.policy.preprocessing import ImagePreprocessor
    from simple_clip_lstm_ros.training.feature_extractor import FeatureExtractor
    from simple_clip_lstm_ros.training.loop import TrainingConfig, TrainingLoop, make_accelerator
    from simple_clip_lstm_ros.training.losses import BehaviorCloningLoss
    from simple_clip_lstm_ros.training.trainer import Trainer, action_std, prepare_model, split

    with steps_progress() as progress:
        files = find_episodes(args.data)
        task = progress.add_task("looking through episodes", total=len(files))
        episodes, skipped = read_dataset(
            files, args.instruction, args.action_scale, on_file=lambda: progress.advance(task)
        )
    train_episodes, val_episodes = split(episodes, args.seed)
    accelerator = make_accelerator(args.device)
    if args.device == "auto":
        args.device = str(accelerator.device)
    args.precision, args.engine = "fp32", "eager"  # gradients need both
    policy = load_with_progress(args)
    images = ImagePreprocessor(policy.config, policy.device, torch.float32)
    encoders = FeatureExtractor(policy.model, images, policy.tokenizer)
    examples = _examples(args, train_episodes, images, encoders, mirrored=args.mirror)
    val_sequences = [example[0] for example in _examples(args, val_episodes, images, encoders, mirrored=False)]
    actions = torch.cat([example[0].actions for example in examples])
    prepare_model(policy.model, actions, encoders=args.encoders == "trained")
    torch.manual_seed(args.seed)
    loss = BehaviorCloningLoss(policy.model, encoders, 0, action_std(actions))
    config = TrainingConfig(args.epochs, args.batch, args.learning_rate, args.seed)
    trainer = Trainer(loss, val_sequences, TrainingLoop(loss, examples, config, accelerator))
    return trainer, policy.model, skipped


def _examples(
    args: argparse.Namespace,
    episodes: list[LabelledEpisode],
    images: ImagePreprocessor,
    encoders: FeatureExtractor,
    *,
    mirrored: bool,
) -> list[Example]:
    from simple_clip_lstm_ros.training.trainer import make_example

    examples = []
    with steps_progress() as progress:
        task = progress.add_task("reading episodes", total=len(episodes))
        for episode in episodes:
            example = make_example(episode, encoders.config, images, mirrored=mirrored)
            examples.append(
                example if args.encoders == "trained" else tuple(encoders.precompute(each) for each in example)
            )
            progress.advance(task)
    return examples


def _run_epochs(args: argparse.Namespace, trainer: Trainer) -> None:
    """Run epochs until --epochs or --patience is reached; save the state for --resume after each."""
    import torch

    options = {name: str(getattr(args, name)) for name in _RUN_OPTIONS}
    if args.resume:
        _restore(args, trainer, options)
    while trainer.epoch < args.epochs and trainer.epoch - trainer.best_epoch < args.patience:
        loss, errors = trainer.run_epoch()
        if trainer.is_main_process:
            torch.save({"facts": options, "course": trainer.state()}, _state_file(args))
            _log_epoch(args, trainer, loss, errors)


def _restore(args: argparse.Namespace, trainer: Trainer, options: dict[str, str]) -> None:
    import torch

    file = _state_file(args)
    try:
        state = torch.load(file, weights_only=True)
        changed = [name for name in _RUN_OPTIONS if state["facts"].get(name) != options[name]]
        if not changed:
            trainer.restore(state["course"])
            return
    except (OSError, RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError):
        raise ConfigError(f"{file} is no state of this training; remove it and begin again") from None
    raise ConfigError(
        f"{file} is of a training with another --{changed[0].replace('_', '-')}; give the same, or remove it"
    )


def _state_file(args: argparse.Namespace) -> Path:
    return Path(f"{args.out}.state")


def _log_epoch(args: argparse.Namespace, trainer: Trainer, loss: float, errors: ErrorSummary) -> None:
    if not args.json:
        by_axis = "  ".join(f"{axis} {each.error:.4f}" for axis, each in errors.axes.items())
        best = "  best" if trainer.best_epoch == trainer.epoch else ""
        print(f"epoch {trainer.epoch:3d}  loss {loss:.4f}  MAE {by_axis}{best}", flush=True)


def _log_result(args: argparse.Namespace, trainer: Trainer, skipped: dict[str, str]) -> None:
    from simple_clip_lstm_ros.data.dataset import format_skipped
    from simple_clip_lstm_ros.evaluation.metrics import format_verdict

    best = trainer.best
    if args.json:
        print_json(
            {
                "checkpoint": str(args.out),
                "bundle": str(args.out.with_suffix("")),
                "epoch": trainer.best_epoch,
                "epochs": trainer.epoch,
                "mae": best.overall.error,
                "constant": best.overall.constant_error,
                "axes": _plain(best),
                "left_out": skipped,
                "verdict": format_verdict(best),
            }
        )
        return
    console = make_console()
    console.print(_table(best))
    for line in format_skipped(skipped):
        console.print(printable(f"left out: {line}"))
    console.print(
        printable(f"{args.out} and {args.out.with_suffix('')}, of epoch {trainer.best_epoch}: {format_verdict(best)}")
    )


def _plain(best: ErrorSummary) -> dict[str, Any]:
    return {
        axis: {"mae": each.error, "mean": each.mean_error, "median": each.median_error}
        for axis, each in best.axes.items()
    }


def _table(best: ErrorSummary) -> Table:
    table = new_table("", "mean absolute error", "this model", "the mean", "the median")
    for axis, row in _plain(best).items():
        table.add_row(axis, *(f"{value:.4f}" for value in row.values()))
    return table

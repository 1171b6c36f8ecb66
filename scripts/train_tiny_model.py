"""Train from scratch the small bundle that ships with the package, of the same architecture as the full model.

    python scripts/train_tiny_model.py --seed 0 --out simple_clip_lstm_ros/models/tiny

Stage 1 pretrains the encoders on single views of many layouts. Stage 2 trains fusion, LSTM and head on the features of
the frozen encoders: first on rollouts of the expert, then in rounds also on rollouts of the policy, labelled by the
expert (DAgger).
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import pickle
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoTokenizer, Kosmos2Processor

from simple_clip_lstm_ros.checkpoint.convert import convert
from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.checkpoint.random_checkpoint import write_tiny_processors
from simple_clip_lstm_ros.checkpoint.save import save_checkpoint
from simple_clip_lstm_ros.policy.config import PolicyConfig
from simple_clip_lstm_ros.policy.preprocessing import ImagePreprocessor, InstructionTokenizer
from simple_clip_lstm_ros.sim.instructions import training_phrases
from simple_clip_lstm_ros.sim.perturbations import FIRST_SEED
from simple_clip_lstm_ros.sim.rollouts import LANDMARKS
from simple_clip_lstm_ros.sim.scenario import SCENARIOS
from simple_clip_lstm_ros.training.dagger import VIEWS, DaggerSampler
from simple_clip_lstm_ros.training.feature_extractor import FeatureExtractor
from simple_clip_lstm_ros.training.loop import TrainingConfig, TrainingLoop, make_accelerator
from simple_clip_lstm_ros.training.losses import BehaviorCloningLoss, EncoderPretrainingLoss
from simple_clip_lstm_ros.training.sequences import Example
from simple_clip_lstm_ros.training.trainer import action_std, prepare_model
from simple_clip_lstm_ros.training.weight_init import init_model

WIDTH, HIDDEN, IMAGE, PATCH, LATENTS = 96, 112, 64, 16, 8
FEATURES = ("kosmos_text", "kosmos_vision", "clip_image_embeds", "clip_text_embeds")
# Layouts per training seed; seeds do not share layouts, and none is used for evaluation.
SEEDS = 200_000
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Effort:
    """The amount of data and epochs; `scaled` gives less, for a quick test."""

    views: int = 3000  # examples of VIEWS frames
    eye_epochs: int = 9
    demonstrations: int = 240
    rounds: tuple[int, ...] = (200, 200, 200)  # drives of the policy in each
    epochs: int = 40  # of fusion, LSTM and head, in each round

    def scaled(self, share: float) -> Effort:
        def scale(number: int) -> int:
            return max(round(number * share), 2)

        return Effort(
            scale(self.views),
            scale(self.eye_epochs),
            scale(self.demonstrations),
            tuple(map(scale, self.rounds[: scale(len(self.rounds))])),
            scale(self.epochs),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the bundle")
    parser.add_argument("--seed", type=int, choices=range(FIRST_SEED // SEEDS), default=0)
    parser.add_argument("--effort", metavar="SHARE", type=float, default=1.0, help="less: it works, and drives badly")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        builder = TinyModelBuilder(Path(folder), args.seed, args.workers, Effort().scaled(args.effort))
        convert(builder.build(), args.out, precision="fp16")
    builder.log(f"{args.out} is complete")


class TinyModelBuilder:
    """Trains the tiny model and saves its checkpoints in `folder`."""

    def __init__(self, folder: Path, seed: int, workers: int, effort: Effort) -> None:
        self._start = time.monotonic()
        self._folder, self._seed, self._workers, self._effort = folder, seed, workers, effort
        self._processors = folder / "processors"
        texts = sorted({text for scenario in SCENARIOS for text in training_phrases(scenario)})
        write_tiny_processors(self._processors, texts)
        self._model = init_model(make_config(self._processors), seed)
        preprocessor = ImagePreprocessor(self._model.config, CPU, torch.float32)
        self._feature_extractor = FeatureExtractor(
            self._model, preprocessor, InstructionTokenizer(self._processors, self._model.config, CPU)
        )
        self._next_layout = seed * SEEDS  # seed of the next layout
        self._num_saved = 0

    def log(self, text: str) -> None:
        print(f"{time.monotonic() - self._start:6.0f} s  {text}", flush=True)

    def build(self) -> Path:
        """Train the model. Return its checkpoint."""
        effort = self._effort
        self._pretrain_encoders([*self._generate_examples("random_views", effort.views)])
        examples = [*self._generate_examples("expert_rollout", effort.demonstrations)]
        for rollouts in (*effort.rounds, 0):
            self._train_policy(examples)
            examples += self._generate_examples("policy_rollout", rollouts)
        return self._save()

    def _pretrain_encoders(self, examples: Sequence[Example]) -> None:
        self._model.requires_grad_(True)
        actions = torch.cat([example[0].actions for example in examples])
        loss_module = EncoderPretrainingLoss(self._model, self._feature_extractor, len(LANDMARKS), action_std(actions))
        config = TrainingConfig(self._effort.eye_epochs, batch=4, seed=self._seed)
        self._train(loss_module, examples, config, log_every=1)

    def _train_policy(self, examples: Sequence[Example]) -> None:
        actions = torch.cat([example[0].actions for example in examples])
        prepare_model(self._model, actions, encoders=False)
        loss_module = BehaviorCloningLoss(self._model, self._feature_extractor, len(LANDMARKS), action_std(actions))
        config = TrainingConfig(self._effort.epochs, batch=8, learning_rate=2e-3, seed=self._seed)
        self._train(loss_module, examples, config, log_every=10)

    def _train(
        self,
        loss_module: EncoderPretrainingLoss | BehaviorCloningLoss,
        examples: Sequence[Example],
        config: TrainingConfig,
        *,
        log_every: int,
    ) -> None:
        loop = TrainingLoop(loss_module, examples, config, make_accelerator("cpu"))
        for epoch in range(config.epochs):
            loss = loop.run_epoch()
            if epoch % log_every == log_every - 1 or epoch == config.epochs - 1:
                name = type(loss_module).__name__
                self.log(f"{name}: epoch {epoch + 1} of {config.epochs} on {len(examples)} examples, loss {loss:.4f}")

    def _generate_examples(self, kind: str, count: int) -> Iterator[Example]:
        """Yield examples from worker processes, in the order of their seeds.

        `kind` is the name of a method of DaggerSampler.
        """
        if not count:
            return
        step = VIEWS if kind == "random_views" else 1
        seeds = range(self._next_layout, self._next_layout + count * step, step)
        self._next_layout = seeds.stop
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self._workers, context, _init_worker, (self._save(),)) as pool:
            for packed in pool.map(_make_example, [kind] * count, seeds, chunksize=4):
                yield pickle.loads(packed)
        self.log(f"{count} examples by {kind}")

    def _save(self) -> Path:
        """Save a normal checkpoint, so that workers run the same policy as users."""
        self._num_saved += 1
        path = self._folder / f"{self._num_saved}.pth"
        settings = {"seed": self._seed, **vars(self._effort)}
        save_checkpoint(
            self._model, path, self._processors, epoch=0, val_mae=float("nan"), optimizer={}, settings=settings
        )
        return path


def make_config(processors: Path) -> PolicyConfig:
    """Return the model's config, with the vocabulary sizes of the tokenizers."""
    kosmos_words = len(Kosmos2Processor.from_pretrained(processors / "kosmos-tiny").tokenizer)
    clip_words = len(AutoTokenizer.from_pretrained(processors / "clip-tiny"))
    tower = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision = tower | {"image_size": IMAGE, "patch_size": PATCH}
    kosmos_text = {"vocab_size": kosmos_words, "embed_dim": WIDTH, "layers": 2, "ffn_dim": 2 * WIDTH}
    kosmos_text |= {"attention_heads": 4, "max_position_embeddings": 128}
    no_dropout = dict.fromkeys(("dropout", "attention_dropout", "activation_dropout"), 0.0)
    clip_text = tower | {"vocab_size": clip_words, "max_position_embeddings": 77, "projection_dim": WIDTH}
    clip_text |= {"bos_token_id": clip_words - 2, "eos_token_id": clip_words - 1}
    clip_vision = vision | {"projection_dim": WIDTH}
    return PolicyConfig(
        kosmos={"text_config": kosmos_text | no_dropout, "vision_config": vision, "latent_query_num": LATENTS},
        clip={"text_config": clip_text, "vision_config": clip_vision, "projection_dim": WIDTH},
        fusion_size=HIDDEN,
        rnn_hidden_size=HIDDEN,
        rnn_num_layers=2,
        mlp={0: (64, HIDDEN), 1: (64,), 4: (2, 64)},
        features=FEATURES,
        untrained=True,
    )


_sampler: DaggerSampler


def _init_worker(checkpoint: Path) -> None:
    global _sampler
    torch.set_num_threads(1)
    _sampler = DaggerSampler(load_policy(checkpoint, device="cpu", precision="fp32", engine="eager"))


def _make_example(kind: str, seed: int) -> bytes:
    # Pickle here: each tensor sent through the queue as a tensor would keep a file open.
    return pickle.dumps(getattr(_sampler, kind)(seed))


if __name__ == "__main__":
    main()

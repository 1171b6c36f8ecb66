"""Makes the bundle that ships with the package, from nothing: a small model of the same architecture that drives.

    python scripts/tiny_model.py --seed 0 --out simple_clip_lstm_ros/models/tiny

First its eyes learn on single views of many worlds. Then, on what these see, fusion, LSTM and head learn from the
expert's drives, and round by round from their own with the expert's word on them.
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
from simple_clip_lstm_ros.training.loop import TrainingConfig, TrainingLoop, accelerator_on
from simple_clip_lstm_ros.training.losses import BehaviorCloningLoss, EncoderPretrainingLoss
from simple_clip_lstm_ros.training.sequences import Example
from simple_clip_lstm_ros.training.trainer import action_std, prepare_model
from simple_clip_lstm_ros.training.weight_init import init_model

WIDTH, HIDDEN, IMAGE, PATCH, LATENTS = 96, 112, 64, 16, 8
FEATURES = ("kosmos_text", "kosmos_vision", "clip_image_embeds", "clip_text_embeds")
# Layouts for one training; another seed has others, and none are those by which a policy is judged.
SEEDS = 200_000
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Effort:
    """How much of each; `scaled` is for a look at whether it works."""

    views: int = 3000  # examples of VIEWS frames
    eye_epochs: int = 9
    demonstrations: int = 240
    rounds: tuple[int, ...] = (200, 200, 200)  # drives of the policy in each
    epochs: int = 40  # of fusion, LSTM and head, in each round

    def scaled(self, share: float) -> Effort:
        def some(number: int) -> int:
            return max(round(number * share), 2)

        return Effort(
            some(self.random_views),
            some(self.eye_epochs),
            some(self.demonstrations),
            tuple(map(some, self.rounds[: some(len(self.rounds))])),
            some(self.epochs),
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
        making = Making(Path(folder), args.seed, args.workers, Effort().scaled(args.effort))
        convert(making.make(), args.out, precision="fp16")
    making.say(f"{args.out} is complete")


class Making:
    def __init__(self, folder: Path, seed: int, workers: int, effort: Effort) -> None:
        self._begin = time.monotonic()
        self._folder, self._seed, self._workers, self._effort = folder, seed, workers, effort
        self._processors = folder / "processors"
        texts = sorted({text for scenario in SCENARIOS for text in training_phrases(scenario)})
        write_tiny_processors(self._processors, texts)
        self._model = init_model(configured(self._processors), seed)
        images = ImagePreprocessor(self._model.config, CPU, torch.float32)
        self._encoders = FeatureExtractor(
            self._model, images, InstructionTokenizer(self._processors, self._model.config, CPU)
        )
        self._layout = seed * SEEDS  # the next one to be drawn
        self._saved = 0

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._begin:6.0f} s  {text}", flush=True)

    def make(self) -> Path:
        """The checkpoint."""
        effort = self._effort
        self._learn_to_see([*self._taught("views", effort.random_views)])
        examples = [*self._taught("demonstration", effort.demonstrations)]
        for drives in (*effort.rounds, 0):
            self._learn_to_drive(examples)
            examples += self._taught("correction", drives)
        return self._save()

    def _learn_to_see(self, examples: Sequence[Example]) -> None:
        self._model.requires_grad_(True)
        actions = torch.cat([example[0].actions for example in examples])
        looker = EncoderPretrainingLoss(self._model, self._encoders, len(LANDMARKS), action_std(actions))
        self._train(looker, examples, TrainingConfig(self._effort.eye_epochs, batch=4, seed=self._seed), every=1)

    def _learn_to_drive(self, examples: Sequence[Example]) -> None:
        actions = torch.cat([example[0].actions for example in examples])
        prepare_model(self._model, actions, encoders=False)
        learner = BehaviorCloningLoss(self._model, self._encoders, len(LANDMARKS), action_std(actions))
        schedule = TrainingConfig(self._effort.epochs, batch=8, learning_rate=2e-3, seed=self._seed)
        self._train(learner, examples, schedule, every=10)

    def _train(
        self,
        learner: EncoderPretrainingLoss | BehaviorCloningLoss,
        examples: Sequence[Example],
        schedule: TrainingConfig,
        *,
        every: int,
    ) -> None:
        training = TrainingLoop(learner, examples, schedule, accelerator_on("cpu"))
        for epoch in range(schedule.epochs):
            loss = training.run_epoch()
            if epoch % every == every - 1 or epoch == schedule.epochs - 1:
                kind = type(learner).__name__
                self.say(f"{kind}: epoch {epoch + 1} of {schedule.epochs} on {len(examples)} examples, loss {loss:.4f}")

    def _taught(self, kind: str, count: int) -> Iterator[Example]:
        """Made by processes of their own, in the order of their seeds."""
        if not count:
            return
        step = VIEWS if kind == "views" else 1
        seeds = range(self._layout, self._layout + count * step, step)
        self._layout = seeds.stop
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self._workers, context, _hire, (self._save(),)) as pool:
            for packed in pool.map(_teach, [kind] * count, seeds, chunksize=4):
                yield pickle.loads(packed)
        self.say(f"{count} examples by {kind}")

    def _save(self) -> Path:
        """As any checkpoint, so that who drives in the world is who will be served."""
        self._saved += 1
        path = self._folder / f"{self._saved}.pth"
        settings = {"seed": self._seed, **vars(self._effort)}
        save_checkpoint(
            self._model, path, self._processors, epoch=0, val_mae=float("nan"), optimizer={}, settings=settings
        )
        return path


def configured(processors: Path) -> PolicyConfig:
    """The sizes of it all; those of the vocabularies are the tokenizers'."""
    kosmos_words = len(Kosmos2Processor.from_pretrained(processors / "kosmos-tiny").tokenizer)
    clip_words = len(AutoTokenizer.from_pretrained(processors / "clip-tiny"))
    tower = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision = tower | {"image_size": IMAGE, "patch_size": PATCH}
    kosmos_text = {"vocab_size": kosmos_words, "embed_dim": WIDTH, "layers": 2, "ffn_dim": 2 * WIDTH}
    kosmos_text |= {"attention_heads": 4, "max_position_embeddings": 128}
    undropped = dict.fromkeys(("dropout", "attention_dropout", "activation_dropout"), 0.0)
    clip_text = tower | {"vocab_size": clip_words, "max_position_embeddings": 77, "projection_dim": WIDTH}
    clip_text |= {"bos_token_id": clip_words - 2, "eos_token_id": clip_words - 1}
    clip_vision = vision | {"projection_dim": WIDTH}
    return PolicyConfig(
        kosmos={"text_config": kosmos_text | undropped, "vision_config": vision, "latent_query_num": LATENTS},
        clip={"text_config": clip_text, "vision_config": clip_vision, "projection_dim": WIDTH},
        fusion_size=HIDDEN,
        rnn_hidden_size=HIDDEN,
        rnn_num_layers=2,
        mlp={0: (64, HIDDEN), 1: (64,), 4: (2, 64)},
        features=FEATURES,
        untrained=True,
    )


_teacher: DaggerSampler


def _hire(checkpoint: Path) -> None:
    global _teacher
    torch.set_num_threads(1)
    _teacher = DaggerSampler(load_policy(checkpoint, device="cpu", precision="fp32", engine="eager"))


def _teach(kind: str, seed: int) -> bytes:
    # Packed here: tensors that a queue carries as such keep a file open each.
    return pickle.dumps(getattr(_teacher, kind)(seed))


if __name__ == "__main__":
    main()

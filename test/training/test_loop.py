"""Epochs: repeatable, resumable, and only of what is to learn."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from simple_clip_lstm_ros.training.loop import TrainingConfig, TrainingLoop, make_accelerator
from simple_clip_lstm_ros.training.sequences import TrainingSequence

SCHEDULE = TrainingConfig(epochs=6, batch=4, learning_rate=0.02, seed=3)


class Line(nn.Module):
    """Learns that an action is twice its landmark, and must leave `fixed` as it is."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.slope = nn.Linear(1, 1)
        self.fixed = nn.Linear(1, 1).requires_grad_(False)
        self.met: list[str] = []

    def forward(self, batch: list[TrainingSequence]) -> torch.Tensor:
        self.met += [each.instruction for each in batch]
        x, y = (torch.cat([getattr(each, name) for each in batch]) for name in ("landmarks", "actions"))
        return ((self.slope(x) - y) ** 2).mean()


def told(name: str, x: float) -> TrainingSequence:
    return TrainingSequence(name, None, torch.tensor([[2.0 * x]]), torch.tensor([[x]]), {})


EXAMPLES = [(told(f"{index}", index / 10), told(f"{index} mirrored", -index / 10)) for index in range(20)]


def training(line: Line, schedule: TrainingConfig = SCHEDULE) -> TrainingLoop:
    return TrainingLoop(line, EXAMPLES, schedule, make_accelerator("cpu"))


def test_each_epoch_meets_each_example_once_in_one_of_its_ways() -> None:
    line = Line()
    one = training(line)
    orders = []
    for _ in range(4):
        line.met.clear()
        one.run_epoch()
        assert sorted(int(name.split()[0]) for name in line.met) == list(range(20))
        orders.append(tuple(line.met))
    assert len(set(orders)) == 4
    assert 20 < sum("mirrored" in name for order in orders for name in order) < 60


def test_it_learns_what_may_learn() -> None:
    line = Line()
    fixed = copy.deepcopy(line.fixed.state_dict())
    one = training(line, TrainingConfig(epochs=30, batch=4, learning_rate=0.1))
    losses = [one.run_epoch() for _ in range(30)]
    assert losses[-1] < 0.01 * losses[0] and line.slope.weight.item() == pytest.approx(2.0, abs=0.2)
    assert torch.equal(line.fixed.weight, fixed["weight"]) and one.epoch == 30


def test_the_same_seed_gives_the_same_weights_and_another_others() -> None:
    def trained(seed: int) -> float:
        line = Line()
        one = training(line, TrainingConfig(epochs=3, seed=seed))
        for _ in range(3):
            one.run_epoch()
        return line.slope.weight.item()

    assert trained(0) == trained(0) != trained(1)


def test_it_goes_on_where_it_was_left(tmp_path) -> None:
    whole, half, rest = Line(), Line(), Line()
    straight, first = training(whole), training(half)
    for _ in range(6):
        straight.run_epoch()
    for _ in range(3):
        first.run_epoch()
    torch.save(first.state(), tmp_path / "state")
    second = training(rest)
    second.restore(torch.load(tmp_path / "state", weights_only=True))
    assert second.epoch == 3
    for _ in range(3):
        second.run_epoch()
    assert torch.equal(rest.slope.weight, whole.slope.weight) and second.state()["epoch"] == 6


def test_the_state_of_another_model_is_refused() -> None:
    state = training(Line()).state()
    state["weights"] = {"other": torch.zeros(1)}
    with pytest.raises(KeyError):
        training(Line()).restore(state)

"""The Governor under any order of events, judged at every tick by an oracle that knows only what has happened."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from simple_clip_lstm_ros.control.governor import FUTURE_TOLERANCE, Decision, Governor, Reason
from simple_clip_lstm_ros.control.limits import Limits
from simple_clip_lstm_ros.control.velocity import ZERO, Velocity

PERIOD, IMAGE_TIMEOUT, COMMAND_TIMEOUT = 0.05, 0.5, 0.4
# Different on every axis and in both directions, so that a mixed-up one shows.
LIMITS = Limits((0.3, 0.2, 0.8), (-0.2, -0.1, -0.6), (1.0, 1.1, 2.0), (-1.5, -1.6, -3.0))
CRUISE = Velocity(0.6, 0.1, -0.5)
TEXTS = ("go left", "go right")
STORIES = 200

Draw = random.Random


def a_velocity(draw: Draw) -> Velocity:
    """Often the same, so that it gets up to speed; else from within the limits to the largest floats."""
    if draw.random() < 0.7:
        return CRUISE
    largest = draw.choice([0.1, 0.3, 3.0, 1e308])
    return Velocity(*(draw.choice([0.0, 1.0, 1.0]) * draw.uniform(-largest, largest) for _ in range(3)))


def a_broken_velocity(draw: Draw) -> Velocity:
    values = [0.1, 0.2, 0.3]
    values[draw.randrange(3)] = draw.choice([math.nan, math.inf, -math.inf])
    return Velocity(*values)


def an_age(draw: Draw) -> float:
    """Mostly fresh; stale by either timeout; or from the future, within and beyond the tolerance."""
    return draw.choice([0.0] * 12 + [0.1, 0.39, 0.45, 0.6, -0.053, -0.51, -30.03])


def a_wait(draw: Draw) -> float:
    """Mostly one period; sometimes a late tick, a long silence, or a clock that jumps back and catches up."""
    return draw.choice([PERIOD] * 30 + [0.0, 0.07, 0.3, 0.6, -0.083, -0.43, -30.07, 29.91])


EVENTS: dict[str, Callable[[Draw], tuple]] = {
    "nothing": lambda draw: (),
    "frame": lambda draw: (a_velocity(draw), an_age(draw)),  # an image, and at once the action wanted for it
    "image": lambda draw: (an_age(draw),),
    "action": lambda draw: (a_velocity(draw), an_age(draw), draw.choice(TEXTS)),
    "broken action": lambda draw: (a_broken_velocity(draw), an_age(draw), draw.choice(TEXTS)),
    "instruct": lambda draw: (draw.choice(["", " ", *TEXTS, f" {TEXTS[0]}\n"]),),
    "enable": lambda draw: (draw.random() < 0.7,),
    "activate": lambda draw: (),
    "deactivate": lambda draw: (),
    "refuse": lambda draw: ("why",),
    "step_failed": lambda draw: ("why",),
}
# Events come in moods, as in life: in an even mixture of them the robot would hardly ever move.
MOODS = [
    *[["frame"]] * 4,
    *[["frame", "frame", "instruct"]] * 2,
    ["frame", "nothing"],
    ["image", "image", "instruct"],
    ["nothing"],
    ["activate", "instruct", "frame"],
    [*EVENTS],
]
Story = list[tuple[str, tuple, float]]


def a_story(seed: int) -> Story:
    """Event, its arguments, and the time until the next tick, 150 times."""
    draw = random.Random(seed)
    story: Story = [("activate", (), PERIOD), ("instruct", (TEXTS[0],), PERIOD)]
    while len(story) < 150:
        mood = draw.choice(MOODS)
        names = [draw.choice(mood) for _ in range(draw.randint(1, 15))]
        story += [(name, EVENTS[name](draw), a_wait(draw)) for name in names]
    return story


@dataclass
class Oracle:
    """Keeps the log of events and reads every answer off it, latest first."""

    may_move: bool
    log: list[tuple[str, Any, float]] = field(default_factory=list)

    def _last(self, *names: str) -> tuple[int, Any]:
        """Index and argument of the latest of these events since the last activation or deactivation."""
        for index in range(len(self.log) - 1, -1, -1):
            name, argument, _ = self.log[index]
            if name in names:
                return index, argument
            if name in ("activate", "deactivate"):
                break
        return -1, None

    def _is_fresh(self, index: int, stamp: float, timeout: float) -> bool:
        """Young now, and never seen to be from the future: that means that the clock has jumped back since."""
        times = [now for _, _, now in self.log[index:]]
        return times[-1] - stamp < timeout and all(stamp <= now + FUTURE_TOLERANCE for now in times)

    def reason(self) -> Reason:
        lives = [name for name, _, _ in self.log if name in ("activate", "deactivate")]
        enables = [argument for name, argument, _ in self.log if name == "enable"]
        changed, text = self._last("instruct changed")
        failed, _ = self._last("step_failed")
        refused, _ = self._last("refuse")
        said, _ = self._last("instruct")
        seen, image = self._last("image")
        acted, action = self._last("action")
        if lives[-1:] != ["activate"]:
            return Reason.INACTIVE
        if enables[-1:] == [False]:
            return Reason.DISABLED
        if not self.may_move:
            return Reason.UNTRAINED
        if failed > max(acted, changed):
            return Reason.STEP_ERROR
        has_action = acted > max(changed, failed)
        if has_action and not all(map(math.isfinite, action[0].as_tuple())):
            return Reason.NON_FINITE
        if refused > said:
            return Reason.INSTRUCTION_REFUSED
        if seen < 0:
            return Reason.NO_IMAGE
        if not self._is_fresh(seen, image, IMAGE_TIMEOUT):
            return Reason.IMAGE_STALE
        if not text or not has_action:
            return Reason.STOPPING  # on its way to NO_INSTRUCTION or NO_ACTION
        return Reason.MOVING if self._is_fresh(acted, action[1], COMMAND_TIMEOUT) else Reason.COMMAND_STALE


class World:
    """A Governor and its oracle, told the same story."""

    def __init__(self, may_move: bool) -> None:
        options = {"period": PERIOD, "image_timeout": IMAGE_TIMEOUT, "command_timeout": COMMAND_TIMEOUT}
        self.governor = Governor(LIMITS, **options, may_move=may_move)
        self.oracle = Oracle(may_move)
        self.now = 1000.0
        self.instruction = ""

    def note(self, name: str, argument: Any = None) -> None:
        self.oracle.log.append((name, argument, self.now))

    def tell(self, name: str, *arguments: Any) -> None:
        special = {"frame": self.frame, "image": self.image, "action": self.action, "broken action": self.action}
        if name in special:
            special[name](*arguments)
        elif name != "nothing":
            getattr(self.governor, name)(*arguments)
            self.note(name, *arguments)
            if name in ("instruct", "activate", "deactivate", "refuse"):
                self.change_to(arguments[0].strip() if name == "instruct" else "")

    def change_to(self, text: str) -> None:
        if text != self.instruction:
            self.instruction = text
            self.note("instruct changed", text)

    def frame(self, velocity: Velocity, age: float) -> None:
        self.image(age)
        self.action(velocity, age, self.instruction)

    def image(self, age: float) -> None:
        taken = self.governor.image(self.now - age, self.now)
        assert taken == (age >= -FUTURE_TOLERANCE)
        if taken:
            self.note("image", self.now - age)

    def action(self, velocity: Velocity, age: float, text: str) -> None:
        self.governor.action(velocity, self.now - age, text)
        if text == self.instruction:
            self.note("action", (velocity, self.now - age))

    def tick(self, wait: float) -> Decision:
        self.now += wait
        self.note("tick")
        return self.governor.tick(self.now)


@dataclass(frozen=True)
class Tick:
    seed: int
    before: Velocity  # what was commanded one tick earlier
    decision: Decision
    expected: Reason  # the oracle's; STOPPING also when it has come to rest


def told(seed: int) -> Iterator[Tick]:
    world, before = World(may_move=seed % 10 != 9), ZERO
    for name, arguments, wait in a_story(seed):
        world.tell(name, *arguments)
        decision = world.tick(wait)
        yield Tick(seed, before, decision, world.oracle.reason())
        before = decision.velocity


@pytest.fixture(scope="module")
def ticks() -> list[Tick]:
    return [tick for seed in range(STORIES) for tick in told(seed)]


def test_the_stories_move_often_and_meet_every_reason_to_stand(ticks):
    """Guards the tests below."""
    counts = Counter(tick.decision.reason for tick in ticks)
    assert set(counts) == set(Reason)
    assert min(counts.values()) > 50 and counts[Reason.MOVING] > len(ticks) / 8


def test_it_moves_only_while_everything_is_well_and_stops_at_once_otherwise(ticks):
    for tick in ticks:
        if tick.expected is not Reason.STOPPING:
            assert tick.decision.reason is tick.expected, tick
            assert tick.expected is Reason.MOVING or tick.decision.velocity == ZERO, tick
        elif tick.decision.velocity != ZERO:
            assert tick.decision.reason is Reason.STOPPING, tick
        else:
            assert tick.decision.reason in (Reason.NO_INSTRUCTION, Reason.NO_ACTION), tick


def test_no_command_is_above_a_limit_or_not_finite(ticks):
    for tick in ticks:
        bounds = zip(LIMITS.min_velocity, tick.decision.velocity.as_tuple(), LIMITS.max_velocity, strict=True)
        assert all(lower <= value <= upper for lower, value, upper in bounds), tick


def test_no_command_changes_faster_than_the_accelerations_but_by_stopping_at_once(ticks):
    for tick in ticks:
        if tick.expected not in (Reason.MOVING, Reason.STOPPING):
            continue
        axes = zip(
            tick.before.as_tuple(), tick.decision.velocity.as_tuple(), LIMITS.max_accel, LIMITS.max_decel, strict=True
        )
        for old, new, accel, decel in axes:
            slowing = abs(new) < abs(old) or old * new < 0
            assert abs(new - old) <= (-decel if slowing else accel) * PERIOD + 1e-12, tick


def test_slowing_down_never_speeds_up_turns_round_or_bends(ticks):
    for tick in ticks:
        if tick.expected is not Reason.STOPPING:
            continue
        pairs = list(zip(tick.before.as_tuple(), tick.decision.velocity.as_tuple(), strict=True))
        assert all(0.0 <= new <= old or old <= new <= 0.0 for old, new in pairs), tick
        shares = [new / old for old, new in pairs if abs(old) > 1e-6]
        assert not shares or max(shares) - min(shares) < 1e-6, tick


@pytest.mark.parametrize("seed", range(40))
def test_from_any_story_a_cleared_instruction_reaches_zero_in_time(seed):
    world = World(may_move=True)
    for name, arguments, wait in a_story(seed):
        world.tell(name, *arguments)
        decision = world.tick(wait)
    slowest = max(abs(v / decel) for v, decel in zip(decision.velocity.as_tuple(), LIMITS.max_decel, strict=True))
    world.tell("instruct", "")
    for _ in range(math.floor(slowest / PERIOD + 1.0 + 1e-9)):
        world.tell("image", 0.0)
        decision = world.tick(PERIOD)
    assert decision.velocity == ZERO


def test_the_same_story_gives_the_same_decisions():
    for seed in range(20):
        assert list(told(seed)) == list(told(seed))

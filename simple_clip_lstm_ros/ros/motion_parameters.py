"""Motion parameters, shared by the inference node and the guard, and parameters of the guard alone."""

from __future__ import annotations

from dataclasses import dataclass, fields

from simple_clip_lstm_ros.control.limits import SIGN_RULES, Limits
from simple_clip_lstm_ros.errors import ConfigError
from simple_clip_lstm_ros.ros.parameters import Parameters, Range, parameter

_DEFAULTS = Limits()
_VELOCITY = "m/s, m/s, rad/s"
_ACCELERATION = "m/s², m/s², rad/s²"


@dataclass(frozen=True)
class MotionParameters(Parameters):
    """Validated motion parameters. Raise ConfigError for an invalid value."""

    max_velocity: tuple[float, ...] = parameter(
        _DEFAULTS.max_velocity, "upper limits", unit=_VELOCITY, within=SIGN_RULES["max_velocity"].words, live=True
    )
    min_velocity: tuple[float, ...] = parameter(
        _DEFAULTS.min_velocity, "lower limits", unit=_VELOCITY, within=SIGN_RULES["min_velocity"].words, live=True
    )
    max_accel: tuple[float, ...] = parameter(
        _DEFAULTS.max_accel, "when speeding up", unit=_ACCELERATION, within=SIGN_RULES["max_accel"].words, live=True
    )
    max_decel: tuple[float, ...] = parameter(
        _DEFAULTS.max_decel, "when slowing down", unit=_ACCELERATION, within=SIGN_RULES["max_decel"].words, live=True
    )
    deadband_velocity: tuple[float, ...] = parameter(
        _DEFAULTS.deadband_velocity,
        "slower than this is zero",
        unit=_VELOCITY,
        within=SIGN_RULES["deadband_velocity"].words,
        live=True,
    )
    command_rate: float = parameter(
        20.0, "of the velocity commands, whatever the model does", unit="Hz", within=Range(0.0, 1000.0)
    )
    enable_stamped_cmd_vel: bool = parameter(False, "publish TwistStamped instead of Twist")
    frame_id: str = parameter("base_link", "frame of stamped velocities")

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.limits

    def _check_against_rate(self, *timeouts: str) -> None:
        """Raise ConfigError for a timeout below one period: it takes effect at the next command only."""
        for name in timeouts:
            if getattr(self, name) * self.command_rate < 1.0:
                raise ConfigError(
                    f"{name} must be at least the period of command_rate, {1.0 / self.command_rate:g} s, "
                    f"not {getattr(self, name):g}"
                )

    @property
    def limits(self) -> Limits:
        return Limits(*(getattr(self, item.name) for item in fields(Limits)))


@dataclass(frozen=True)
class GuardParameters(MotionParameters):
    """Validated parameters of the guard. Raise ConfigError for an invalid value."""

    guard_timeout: float = parameter(
        0.3, "newest command older than this, from its arrival: zero", unit="s", within=Range(0.0, 10.0), live=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_against_rate("guard_timeout")

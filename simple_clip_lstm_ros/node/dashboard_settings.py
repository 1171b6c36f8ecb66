"""The parameters of the dashboard, each described once."""

from __future__ import annotations

from dataclasses import dataclass

from simple_clip_lstm_ros.errors import ConfigError
from simple_clip_lstm_ros.node.parameters import Parameters, Range, check_topic, parameter

_SHORTEST_TOKEN = 16


@dataclass(frozen=True)
class DashboardSettings(Parameters):
    """Values of all parameters, checked. Raises ConfigError."""

    host: str = parameter("127.0.0.1", "address to listen on; anything but this machine's own asks for a token")
    port: int = parameter(8088, "of the page", within=Range(0, 65535))
    token: str = parameter("", "what the page's address must bring along; empty: none on this machine, else a new one")
    image_topic: str = parameter("image_raw", "camera topic")
    image_transport: str = parameter("raw", "compressed subscribes to <image_topic>/compressed", "raw", "compressed")
    enable_stamped_cmd_vel: bool = parameter(False, "cmd_vel is TwistStamped instead of Twist")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_topic("image_topic", self.image_topic)
        if self.token and (len(self.token) < _SHORTEST_TOKEN or not self.token.isascii()):
            raise ConfigError(
                f"token must have {_SHORTEST_TOKEN} ASCII characters or more, for a short one can be guessed; "
                "leave it empty and one is made"
            )

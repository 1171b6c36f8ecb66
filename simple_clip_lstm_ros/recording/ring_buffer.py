"""Bounded buffers of recorded messages: a ring of the last seconds, and a queue for the writer thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

_OVERHEAD = 400  # bytes that Python needs for a message beside its content


class Channel(NamedTuple):
    """A topic's full name, its type as `std_msgs/msg/String`, and whether whoever comes late still gets its newest."""

    topic: str
    type: str
    is_latched: bool = False


class Message(NamedTuple):
    """As it came: `time` in ns, `data` serialised as ROS's CDR."""

    channel: Channel
    time: int
    data: bytes

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return len(self.data) + _OVERHEAD


class RingBuffer:
    """Keeps the messages of the last `seconds`, fewer if they would take more than `most_bytes`.

    Of a latched topic the newest is never forgotten: an instruction holds until the next. `crowded_out` counts what had
    to go before its time. When the clock jumps back, all else is: those messages are of another recording.
    """

    def __init__(self, seconds: float, most_bytes: int) -> None:
        self._span = round(seconds * 1e9)
        self._most_bytes = most_bytes
        self._messages: deque[Message] = deque()
        self._latched: dict[Channel, Message] = {}
        self.bytes = 0
        self.evicted = 0

    def add(self, message: Message) -> None:
        """Times do not go back, unless the clock has jumped."""
        while self._messages and message.time < self._messages[-1].time:
            self._forget()
        self._messages.append(message)
        self.bytes += message.size
        while self._messages[0].time < message.time - self._span:
            self._forget()
        while self.bytes > self._most_bytes:
            self._forget()
            self.evicted += 1

    def _forget(self) -> None:
        oldest = self._messages.popleft()
        self.bytes -= oldest.size
        if oldest.channel.is_latched:
            self._latched[oldest.channel] = oldest

    def content(self) -> list[Message]:
        """In order of time; what is older than the ring and still holds comes first, with the time of the ring's own
        first message, so that no player waits through the time between."""
        if not self._messages:
            return []
        begin = self._messages[0].time
        return [*(message._replace(time=begin) for message in self._latched.values()), *self._messages]


class BoundedWriteQueue:
    """At most `most_bytes`; what comes when it is full is dropped and counted."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._messages: deque[Message] = deque()
        self._bytes = 0
        self._is_closed = False
        self._changed = threading.Condition()
        self.dropped = 0

    def add(self, message: Message) -> None:
        with self._changed:
            if self._bytes + message.size > self._most_bytes:
                self.dropped += 1
                return
            self._messages.append(message)
            self._bytes += message.size
            self._changed.notify()

    def close(self) -> None:
        """Nothing more comes: whoever iterates gets what is there, and then the end."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def __iter__(self) -> Iterator[Message]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._messages or self._is_closed)
                if not self._messages:
                    return
                message = self._messages.popleft()
                self._bytes -= message.size
            yield message

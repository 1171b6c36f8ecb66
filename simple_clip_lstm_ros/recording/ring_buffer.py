"""Bounded buffers of messages: a ring of the last seconds, and a queue for a writer thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

_OVERHEAD = 400  # bytes that Python needs per message in addition to its content


class Channel(NamedTuple):
    """Topic: full name, type such as `std_msgs/msg/String`, and whether it is latched (transient local)."""

    topic: str
    type: str
    is_latched: bool = False


class Message(NamedTuple):
    """Recorded message: time of arrival in ns, `data` serialized as ROS's CDR."""

    channel: Channel
    time: int
    data: bytes

    @property
    def size(self) -> int:
        """Return the size in memory, in bytes."""
        return len(self.data) + _OVERHEAD


class RingBuffer:
    """Keeps the messages of the last `seconds`, fewer if they would exceed `max_bytes`.

    The newest message of a latched topic is always kept: an instruction holds until the next. `evicted` counts messages
    removed early for `max_bytes`. A clock that jumps back removes all others: they belong to another recording.
    """

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self._span = round(seconds * 1e9)  # ns
        self._max_bytes = max_bytes
        self._messages: deque[Message] = deque()
        self._latched: dict[Channel, Message] = {}
        self.bytes = 0
        self.evicted = 0

    def add(self, message: Message) -> None:
        """Add a message. An earlier time than the last one means that the clock has jumped."""
        while self._messages and message.time < self._messages[-1].time:
            self._evict()
        self._messages.append(message)
        self.bytes += message.size
        while self._messages[0].time < message.time - self._span:
            self._evict()
        while self.bytes > self._max_bytes:
            self._evict()
            self.evicted += 1

    def _evict(self) -> None:
        oldest = self._messages.popleft()
        self.bytes -= oldest.size
        if oldest.channel.is_latched:
            self._latched[oldest.channel] = oldest

    def messages(self) -> list[Message]:
        """Return the messages in order of time, latched messages older than the ring first.

        Those get the time of the ring's first message, so that a player does not wait for the time between.
        """
        if not self._messages:
            return []
        begin = self._messages[0].time
        return [*(message._replace(time=begin) for message in self._latched.values()), *self._messages]


class BoundedWriteQueue:
    """Queue of at most `max_bytes` to the writer thread; a full queue drops and counts messages.

    It never blocks `add`, which subscriber callbacks call.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._messages: deque[Message] = deque()
        self._bytes = 0
        self._is_closed = False
        self._changed = threading.Condition()
        self.dropped = 0

    def add(self, message: Message) -> None:
        with self._changed:
            if self._bytes + message.size > self._max_bytes:
                self.dropped += 1
                return
            self._messages.append(message)
            self._bytes += message.size
            self._changed.notify()

    def close(self) -> None:
        """End the iteration after the messages in the queue."""
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

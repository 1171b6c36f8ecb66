"""Messages that wait for a disk: between whoever hears them, who must never wait, and the thread that writes them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

from simple_clip_lstm_ros.data.ring import Message


class Backlog:
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

"""The last moments: what the ring keeps, whatever comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from simple_clip_lstm_ros.recording.ring_buffer import Channel, Message, RingBuffer

IMAGE = Channel("/image_raw/compressed", "sensor_msgs/msg/CompressedImage")
TEXT = Channel("/instruction", "std_msgs/msg/String", is_latched=True)
SECOND = 10**9
arrivals = st.lists(
    st.tuples(st.sampled_from([IMAGE, TEXT]), st.integers(0, 2 * SECOND), st.integers(0, 2000)), min_size=1, max_size=60
)


def filled(arrivals, seconds=5.0, max_bytes=10**9):
    """The ring and all that came; times are given as pauses."""
    ring, time, came = RingBuffer(seconds, max_bytes), 0, []
    for channel, pause, size in arrivals:
        time += pause
        came.append(Message(channel, time, bytes(size)))
        ring.add(came[-1])
    return ring, came


@given(arrivals)
def test_it_holds_all_of_the_last_seconds_and_nothing_older(arrivals):
    ring, came = filled(arrivals)
    kept = [message for message in came if message.time >= came[-1].time - 5 * SECOND]
    content = ring.messages()
    assert content[-len(kept) :] == kept
    assert all(message.channel.is_latched and message.time == kept[0].time for message in content[: -len(kept)])


@given(arrivals, st.integers(2500, 20_000))
def test_it_never_takes_more_than_it_may(arrivals, most):
    ring, came = filled(arrivals, max_bytes=most)
    assert sum(message.size for message in ring.messages() if not message.channel.is_latched) <= most
    assert ring.bytes <= most
    assert ring.messages()[-1] == came[-1]


@given(arrivals)
def test_what_still_holds_is_never_forgotten(arrivals):
    ring, came = filled(arrivals, seconds=1.0)
    said = [message for message in came if message.channel is TEXT]
    begin = came[-1].time - SECOND
    held = [message for message in said if message.time < begin]
    heard = [message.data for message in ring.messages() if message.channel is TEXT]
    assert heard == [message.data for message in (held[-1:] + [each for each in said if each.time >= begin])]


def test_a_clock_that_jumps_back_begins_anew():
    ring = RingBuffer(30.0, 10**9)
    ring.add(Message(TEXT, 100 * SECOND, b"go"))
    ring.add(Message(IMAGE, 101 * SECOND, b"old"))
    ring.add(Message(IMAGE, 3 * SECOND, b"new"))
    assert ring.messages() == [Message(TEXT, 3 * SECOND, b"go"), Message(IMAGE, 3 * SECOND, b"new")]
    assert ring.bytes == Message(IMAGE, 0, b"new").size


def test_what_was_crowded_out_is_counted():
    ring, _ = filled([(IMAGE, 1, 1000)] * 5, max_bytes=3 * Message(IMAGE, 0, bytes(1000)).size)
    assert ring.evicted == 2


def test_an_empty_one_holds_nothing():
    assert RingBuffer(1.0, 100).messages() == []

"""A text that as a whole asks to stop is a stop phrase, in any of the languages; one that contains it is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_clip_lstm_ros.language.instruction import COURTESIES, MAX_CHARACTERS, STOP_PHRASES, is_stop_phrase

STOPS = (
    *("stop", "STOP!!", "Please halt now.", "wait a moment", "don't move", "don’t move", "stay where you are"),
    *("stop, stop, STOP!", "Stop. Halt.", "ｓｔｏｐ", "st\u200bop", "\ufeffstop", "  stop\n", "emergency stop!"),
    *(
        "지금 바로 멈춰 주세요",
        "움직이지 말고 기다려",
        "멈춰",
        "정지!",
        "止まってください",
        "停止",
        "請停下",
        "停下来！",
    ),
    *("¡Para!", "Por favor, para ahora.", "Bitte sofort anhalten", "Stopp!"),
)
NO_STOPS = (
    *("", " ", "\u200b", "please", "now", "please, now", "!!!", "go around the left side of the box and reach the cup"),
    *("pass the box and stop at the cup", "stop going to the cup", "do not stop", "don't stop", "never stop"),
    *(
        "para ir a la caja",
        "stopover",
        "paradero",
        "waiting room",
        "wait for the cup",
        "서울로 가",
        "상자를 왼쪽으로 돌아가",
    ),
)


@pytest.mark.parametrize("text", STOPS)
def test_a_stop_phrase_is_recognized(text):
    assert is_stop_phrase(text)


@pytest.mark.parametrize("text", NO_STOPS)
def test_another_text_is_not(text):
    assert not is_stop_phrase(text)


_PHRASES, _WORDS = st.sampled_from(STOP_PHRASES), st.sampled_from((*STOP_PHRASES, *COURTESIES))


@given(st.lists(_WORDS, max_size=5), _PHRASES, st.lists(_WORDS, max_size=5), st.sampled_from((" ", ", ", "! ", "\n")))
def test_any_mix_of_phrases_and_courtesies_is_a_stop(before, phrase, after, gap):
    text = gap.join([*before, phrase, *after])
    assert is_stop_phrase(text) and is_stop_phrase(text.upper())


@given(st.lists(_WORDS, max_size=5), st.lists(_WORDS, max_size=5))
def test_one_other_word_makes_it_an_instruction(before, after):
    assert not is_stop_phrase(" ".join([*before, "cup", *after]))


@given(st.text())
def test_any_text_is_answered(text):
    assert is_stop_phrase(text) in (True, False)


def test_a_text_that_is_too_long_for_an_instruction_is_not_searched():
    assert is_stop_phrase("stop " * (MAX_CHARACTERS // 5))
    assert not is_stop_phrase("stop " * MAX_CHARACTERS)

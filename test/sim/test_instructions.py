"""Texts to train on, and others to be judged by."""

from __future__ import annotations

import numpy as np
import pytest

from simple_clip_lstm_ros.sim.instructions import corrupt_words, heldout_phrases, swap_left_right, training_phrases
from simple_clip_lstm_ros.sim.scenario import SCENARIOS, Scenario


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_what_is_judged_by_was_never_trained_on(scenario: Scenario) -> None:
    assert len(set(heldout_phrases(scenario))) == 20
    seen = {text for each in SCENARIOS for text in training_phrases(each)}
    assert not seen & set(heldout_phrases(scenario))
    assert scenario.instruction == training_phrases(scenario)[0] and len(training_phrases(scenario)) > 100


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_each_names_its_side_and_no_other(scenario: Scenario) -> None:
    other = "right" if scenario.side == "left" else "left"
    for text in (*training_phrases(scenario), *heldout_phrases(scenario)):
        words = text.replace(",", "").split()
        assert words.count(scenario.side) == 1 and other not in words
        assert ("boxes" in words) == (scenario.boxes == 2)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_the_mirrored_text_is_that_of_the_other_side(scenario: Scenario) -> None:
    other = Scenario(scenario.boxes, scenario.orientation, "right" if scenario.side == "left" else "left")
    assert [swap_left_right(text) for text in training_phrases(scenario)] == training_phrases(other)
    assert [swap_left_right(text) for text in heldout_phrases(scenario)] == heldout_phrases(other)


def test_a_garbled_text_keeps_the_side_and_loses_other_words() -> None:
    rng = np.random.default_rng(0)
    text = training_phrases(SCENARIOS[0])[0]
    told = [corrupt_words(text, rng).split() for _ in range(200)]
    assert all(words.count("left") == 1 and "right" not in words for words in told)
    kept = sum(word in words for words in told for word in set(text.split())) / (200 * len(set(text.split())))
    assert 0.6 < kept < 0.85 and any(len(words) < 11 for words in told)
    assert any(set(words) - set(text.split()) for words in told)

"""Interpret the text of an instruction: a text for the model, a stop, or a refusal."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

# Longer texts are rejected as instructions, so they need no search.
MAX_CHARACTERS = 2000

STOP_PHRASES = (
    # English
    *("stop", "halt", "freeze", "wait", "pause", "brake", "cease", "stand still", "stay still", "keep still"),
    *("hold still", "hold on", "hold it", "hang on", "hold position", "stay", "stay there", "stay here", "stay put"),
    *("stay where you are", "remain where you are", "stop where you are", "stop moving", "stop driving", "stop it"),
    *("stop there", "stop here", "stop the robot", "come to a stop", "come to a halt", "emergency stop", "e stop"),
    *("estop", "don't move", "dont move", "do not move", "do not drive", "don't drive", "dont drive", "do nothing"),
    *("don't go", "dont go", "do not go", "no further", "that's enough", "thats enough", "enough"),
    # Korean
    *(
        "멈춰",
        "멈춰라",
        "멈추세요",
        "멈추십시오",
        "멈춰주세요",
        "멈추어",
        "멈추어라",
        "멈춤",
        "정지",
        "정지해",
        "정지하세요",
    ),
    *("정지하십시오", "정지해라", "정지해주세요", "서", "서라", "스톱", "스탑", "기다려", "기다려라", "기다리세요"),
    *("기다려주세요", "대기", "대기해", "대기하세요", "그만", "그만해", "그만하세요", "가만히있어", "가만히있으세요"),
    *("움직이지마", "움직이지마라", "움직이지마세요", "움직이지말고", "움직이지말아라", "거기서"),
    # Japanese
    *(
        "止まれ",
        "止まって",
        "とまれ",
        "とまって",
        "停止",
        "停止して",
        "ストップ",
        "待て",
        "待って",
        "動くな",
        "動かないで",
    ),
    # Chinese
    *("停", "停下", "停下来", "停止", "站住", "别动", "不要动", "不許動", "不许动", "等等", "等一下", "停車", "停车"),
    # Spanish
    *("para", "párate", "parate", "pare", "parar", "alto", "detente", "deténgase", "detengase", "espera", "espere"),
    *("quieto", "no te muevas", "no se mueva"),
    # German
    *("stopp", "anhalten", "halte an", "halt an", "bleib stehen", "bleiben sie stehen", "stehen bleiben", "warte"),
    *("warten", "nicht bewegen", "beweg dich nicht", "keine bewegung"),
)

# Words that do not change the meaning of a stop phrase.
COURTESIES = (
    *("please", "pls", "now", "right now", "immediately", "at once", "at the moment", "for now", "for a moment"),
    *(
        "a moment",
        "a second",
        "a minute",
        "for a second",
        "for a minute",
        "quickly",
        "robot",
        "and",
        "then",
        "ok",
        "okay",
    ),
    *("hey", "just", "thanks", "thank you", "would you", "could you", "can you", "you", "must", "everything"),
    *("지금", "바로", "당장", "빨리", "즉시", "좀", "잠깐", "잠시", "주세요", "로봇", "제발", "그리고", "거기"),
    *("すぐに", "今すぐ", "今", "ください", "下さい", "ちょっと", "お願いします", "ロボット"),
    *("请", "請", "立即", "马上", "馬上", "现在", "现在就", "快", "机器人"),
    *("por favor", "ahora", "ahora mismo", "ya", "inmediatamente", "un momento", "robot", "y"),
    *("bitte", "jetzt", "sofort", "einen moment", "einen augenblick", "mal", "roboter", "und", "kurz"),
)


def is_stop_phrase(text: str) -> bool:
    """Return whether the whole of `text` is one or more stop phrases.

    Case, punctuation, invisible characters and courtesies do not count. A text that merely contains a stop phrase is
    an instruction: "pass the box and stop at the cup".
    """
    if len(text) > MAX_CHARACTERS:
        return False
    words = _fold(text)
    # (end, has_stop): words[:end] consists of courtesies, and of a stop phrase if has_stop.
    ends: set[tuple[int, bool]] = {(0, False)}
    for start in range(len(words)):
        for has_stop in (False, True):
            if (start, has_stop) in ends:
                ends |= {(start + len(p), True) for p in _PHRASES if words.startswith(p, start)}
                ends |= {(start + len(p), has_stop) for p in _COURTESIES if words.startswith(p, start)}
    return (len(words), True) in ends


def _fold(text: str) -> str:
    """Return the words of `text` in lower case.

    Each is followed by a space unless its script has no spaces between words.
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    visible = (character for character in text if unicodedata.category(character) != "Cf")
    # An apostrophe is part of a word: "don't".
    kept = (c if c.isalnum() or unicodedata.category(c) == "Mn" else "" if c in "'’`" else " " for c in visible)
    words = "".join(kept).split()
    return "".join(word if _is_unspaced(word) else f"{word} " for word in words)


def _is_unspaced(word: str) -> bool:
    """Return whether people write `word` with or without spaces around it: Chinese, Japanese and Korean."""
    return any("\u3040" <= character <= "\u9fff" or "\uac00" <= character <= "\ud7af" for character in word)


_PHRASES = frozenset(map(_fold, STOP_PHRASES))
_COURTESIES = frozenset(map(_fold, COURTESIES))


@dataclass(frozen=True)
class Instruction:
    """Interpreted text of an instruction.

    `text` has no surrounding white space; `error` is why it is rejected, or empty. A blank text is a stop without a
    phrase.
    """

    text: str
    is_stop: bool = False
    error: str = ""


def interpret(text: str, validate: Callable[[str], str]) -> Instruction:
    """Return what `text` asks for.

    `validate` returns why the model cannot use a text, or an empty string.
    """
    text = text.strip()
    if not text or is_stop_phrase(text):
        return Instruction(text, is_stop=True)
    return Instruction(text, error=validate(text))

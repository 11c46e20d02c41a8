"""A reasoning model's thoughts, taken out of what it answers: nobody is told them, and nothing keeps them.

Providers give them beside the answer, in a field of its own; models served by others write them into it, each family in
its own marks. What can't be told apart from a thought counts as one: an answer may be lost by that, never a thought
said. Takes time in proportion to the text.
"""

from __future__ import annotations

import re
from typing import Final

_THOUGHT: Final = r"think|thinking|thoughts?|reasoning|analysis|reflection|scratchpad|rumination|deliberation"
_NAMES: Final = (
    rf"(?:(?:\w{{1,16}}:|ant|x-|[a-z]{{1,16}}[_-])?(?:{_THOUGHT})(?:[_-][a-z]{{1,16}})?"
    r"|(?:chain[_-]of[_-])?thoughts?|cot|(?:inner|internal)[_-]?monologue)"
)
#: Brackets, also as somebody escaped them on the way: what comes after would make them brackets again.
_LT: Final = r"(?:\\?[<＜]|&(?:amp;){0,2}(?:lt|#0{0,6}60|#x0{0,6}3c);?|\\u003c)"
_GT: Final = r"(?:\\?[>＞]|&(?:amp;){0,2}(?:gt|#0{0,6}62|#x0{0,6}3e);?|\\u003e)"
_MARK: Final = re.compile(
    # DeepSeek R1, Qwen, GLM and most others.
    rf"{_LT}\s{{0,4}}(?P<close>(?:\\?/)?)\s{{0,4}}{_NAMES}(?:\s[^<>\n]{{0,80}})?(?P<empty>/?)\s{{0,4}}{_GT}"
    # Kimi; Magistral.
    r"|◁(?P<close_kimi>/?)think▷|\[(?P<close_mistral>/?)THINK(?:ING)?\]"
    # OpenThinker; Cohere; DeepSeek's own signs.
    r"|<\|(?:(?P<close_end>end_of)|begin_of)_thought\|>|<\|(?:(?P<close_cohere>END)|START)_THINKING\|>"
    r"|<[|｜](?:(?P<close_pipe>/|end[_▁](?:of[_▁])?)|(?:begin|start)[_▁](?:of[_▁])?)?think(?:ing)?[|｜]>"
    # Gemma 4; MedGemma; Apertus.
    r"|(?P<close_gemma><channel\|>)|<\|channel>\s{0,4}thought|(?P<close_med><unused95>)|<unused94>"
    r"|<\|inner_(?:prefix|(?P<close_inner>suffix))\|>",
    re.IGNORECASE,
)
_CLOSES: Final = tuple(name for name in _MARK.groupindex if name.startswith("close"))
_NEXT: Final = re.compile(rf"(?P<fence>```+|~~~+)|(?P<tick>`)|(?P<mark>{_MARK.pattern})", re.IGNORECASE)
#: gpt-oss (the harmony format): what is said is in the channel `final`.
_CHANNEL: Final = re.compile(
    r"<\|channel\|>\s{0,4}(\w{0,32})[^<]{0,200}(?:<\|constrain\|>[^<]{0,80})?(?:<\|message\|>)?",
    re.IGNORECASE,
)
_CHANNEL_ENDS: Final = re.compile(r"<\|(?:end|return|call|start|channel)\|>", re.IGNORECASE)
#: The same where the server left its marks out.
_BARE_ANALYSIS: Final = re.compile(r"\s*(?:assistant)?analysis(?=[^\sa-z.,:;!?)])")
_BARE_FINAL: Final = "assistantfinal"
#: Granite 3.2.
_SAID_THOUGHT: Final = re.compile(r"\s*(?:Here is|Here's) my thought process:", re.IGNORECASE)
_SAID_ANSWER: Final = re.compile(r"(?:Here is|Here's) my response:", re.IGNORECASE)
#: A fence that says it holds thoughts.
_FENCED: Final = re.compile(rf"[ \t]{{0,4}}(?:{_THOUGHT})[ \t]{{0,4}}\n", re.IGNORECASE)
#: What is left of a model's own marks: the end of a message, of a turn.
_SPECIAL: Final = re.compile(r"<[|｜][A-Za-z0-9_▁]{1,40}[|｜]>|</s>")


def without_thoughts(text: str) -> str:
    """What of a model's answer is meant for the contact; empty when all of it is thought.

    A mark that the answer quotes as code is left: alone in its code span, or one of a pair in the span or fence.
    """
    return _SPECIAL.sub("", _outside(_final(text))).strip()


def _final(text: str) -> str:
    if "<|channel|>" in text.lower():
        said = []
        for channel in _CHANNEL.finditer(text):
            ends = _CHANNEL_ENDS.search(text, channel.end())
            if channel[1].lower() == "final":
                said.append(text[channel.end() : ends.start() if ends else len(text)])
        return "\n\n".join(said)
    if _BARE_ANALYSIS.match(text):
        return text.rpartition(_BARE_FINAL)[2] if _BARE_FINAL in text else ""
    if _SAID_THOUGHT.match(text):
        answer = _SAID_ANSWER.search(text)
        return text[answer.end() :] if answer else ""
    return text


def _outside(text: str) -> str:
    kept: list[str] = []
    depth, at = 0, 0
    unclosed: set[str] = set()
    while found := _NEXT.search(text, at):
        if found["fence"] is not None and not depth and _FENCED.match(text, found.end()):
            kept.append(text[at : found.start()])
            close = text.find(found["fence"], found.end())
            at = len(text) if close < 0 else close + len(found["fence"])
            continue
        if found["mark"] is None:
            end = None if depth else _code_end(text, found, unclosed)
            end = found.end() if end is None else end
            if not depth:
                kept.append(text[at:end])
            at = end
            continue
        if not depth:
            kept.append(text[at : found.start()])
        at = found.end()
        if any(found[name] for name in _CLOSES):
            if not depth:
                # Its opening mark was part of the prompt, as with some chat templates.
                kept.clear()
            depth = max(0, depth - 1)
            if not depth and not (kept and kept[-1] and not kept[-1][-1].isspace()):
                while at < len(text) and text[at].isspace():
                    at += 1
        elif not found["empty"]:
            depth += 1
    if not depth:
        kept.append(text[at:])
    return "".join(kept)


def _code_end(text: str, opened: re.Match[str], unclosed: set[str]) -> int | None:
    """Where the code that begins here ends; None where it is none, or hides marks rather than quotes them."""
    if (fence := opened["fence"]) is not None:
        if fence[0] in unclosed:
            return None
        close = text.find(fence[:3], opened.end())
        if close < 0:
            unclosed.add(fence[0])
            return None
        end = close + len(fence)
    else:
        close = text.find("`", opened.end())
        if close < 0 or text.find("\n", opened.end(), close) >= 0:
            return None
        end = close + 1
    inside = text[opened.end() : close]
    depth = 0
    if _MARK.fullmatch(inside.strip()):
        return end
    for mark in _MARK.finditer(inside):
        depth += -1 if any(mark[name] for name in _CLOSES) else 1
        if depth < 0:
            return None
    return None if depth else end

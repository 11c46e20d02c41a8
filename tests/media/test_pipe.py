"""The pipe to the process that listens: every note gets its own words, or none; never another's."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import uvloop

from recado.media.transcription import Transcript, TranscriptionFailed
from recado.media.voice import ears
from recado.media.voice.whisper import MOST_ANSWER_BYTES, Whisper

#: A listener that says what its file says: `LETTER NUMBER`, that letter so often; `other`, an answer to nothing asked.
STAND_IN = """
import json, sys
out = open(1, "w", encoding="utf-8", closefd=False)
def say(**what): print(json.dumps(what, ensure_ascii=False), file=out, flush=True)
say(ready=True)
for line in sys.stdin:
    question = json.loads(line)
    letter, number = open(question["path"], encoding="utf-8").read().split()
    words = {"text": letter * int(number), "language": "pt", "duration_s": 1.0}
    say(id=question["id"] - (letter == "other"), **words)
"""

Hear = Callable[..., list[Transcript | str]]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def hear(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hear]:
    """What each of these notes gets, one after the other: a transcript, or the reason."""
    (tmp_path / "ears.py").write_text(STAND_IN)

    async def all_of(notes: tuple[str, ...], processes: list[int]) -> list[Transcript | str]:
        whisper = Whisper("model", threads=1, longest_s=5, ears=[str(tmp_path / "ears.py")])
        heard: list[Transcript | str] = []
        for number, said in enumerate(notes):
            path = tmp_path / str(number)
            path.write_text(said, encoding="utf-8")
            try:
                heard.append(await whisper.transcribe(path, content_type="audio/ogg", languages={"pt": 1}))
            except TranscriptionFailed as failed:
                heard.append(failed.reason)
            processes.extend([whisper._child.pid] if whisper._child else [])
        await whisper.aclose()
        return heard

    def run(*notes: str, processes: list[int] | None = None) -> list[Transcript | str]:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(all_of(notes, [] if processes is None else processes))

    yield run
    assert not [child for child in psutil.Process().children() if str(tmp_path) in " ".join(child.cmdline())]


def words(heard: Transcript | str) -> str:
    return heard.text if isinstance(heard, Transcript) else f"({heard})"


@pytest.mark.parametrize("length", [70_000, 90_000, 300_000])
def test_a_very_long_transcript_arrives_whole_and_the_next_notes_get_their_own(hear: Hear, length: int) -> None:
    processes: list[int] = []
    heard = hear(f"ã {length}", "b 5", "c 5", "d 5", processes=processes)
    assert [words(one)[:5] for one in heard] == ["ããããã", "bbbbb", "ccccc", "ddddd"]
    assert len(words(heard[0])) == length
    assert len(set(processes)) == 1


def test_one_that_is_beyond_all_bounds_costs_its_note_and_the_process(hear: Hear) -> None:
    processes: list[int] = []
    heard = hear("z 1", f"a {MOST_ANSWER_BYTES * 3}", "b 5", "c 5", processes=processes)
    assert [words(one) for one in heard] == ["z", "(unreadable)", "bbbbb", "ccccc"]
    assert processes[0] not in processes[1:]


def test_an_answer_to_what_was_not_asked_is_nobodys(hear: Hear) -> None:
    assert [words(one) for one in hear("a 5", "other 1", "c 5")] == ["aaaaa", "(unreadable)", "ccccc"]


async def test_a_fault_of_ours_ends_the_process_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ears.py").write_text(STAND_IN)
    (tmp_path / "note").write_text("a 5")
    whisper = Whisper("model", threads=1, longest_s=5, ears=[str(tmp_path / "ears.py")])
    await whisper.start()
    assert whisper._child is not None
    child = psutil.Process(whisper._child.pid)
    with pytest.raises(TypeError):  # what no line of it expects
        await whisper.transcribe(tmp_path / "note", content_type="audio/ogg", languages={b"pt": 1})  # type: ignore[arg-type]
    assert not child.is_running()
    assert words(await whisper.transcribe(tmp_path / "note", content_type="audio/ogg", languages={"pt": 1})) == "aaaaa"
    await whisper.aclose()


def test_what_was_heard_is_said_in_as_many_bytes_as_it_takes() -> None:
    said = io.StringIO()
    ears._say(said, {"text": "você não está"})
    assert said.getvalue() == '{"text": "você não está"}\n'

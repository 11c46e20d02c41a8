"""OptOutType: what a Messaging Service's own words did already is heeded, and answered by nobody again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from recado.journey.understand.opt_outs import CONFIRMED
from tests.journey.front import Front, open_front
from tests.journey.test_answer import Mind, replies, run
from tests.journey.test_consent import changes, statuses, suppressed, turn


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("said", ["STOP", "chega disso", "", "VOLTAR", "x" * 500])
async def test_stop_opts_out_whatever_the_word_was_without_model_or_confirmation(front: Front, said: str) -> None:
    await front.accept(await front.arrival(said, OptOutType="STOP"))
    assert (suppressed(front), changes(front), statuses(front)) == (["word"], ["opted_out"], ["answered"])
    assert front.work() == []
    mind = Mind()
    await turn(front, mind)
    assert (mind.shown, replies(front)) == ([], [])


@pytest.mark.parametrize("said", ["START", "quero de novo", "SAIR"])
async def test_start_lifts_it_whatever_the_word_was(front: Front, said: str) -> None:
    await front.accept(await front.arrival("Sair"))
    await front.accept(await front.arrival(said, OptOutType=" start "))
    assert (suppressed(front), changes(front)) == ([], ["opted_out", "opted_in"])
    assert len(front.work()) == 1, "our own word's turn only"


@pytest.mark.parametrize("said", ["HELP", "STOP", "Ajuda, por favor"])
async def test_help_is_kept_and_neither_heeded_nor_answered(front: Front, said: str) -> None:
    await front.accept(await front.arrival(said, OptOutType="HELP"))
    assert (suppressed(front), changes(front), statuses(front), front.work()) == ([], [], ["answered"], [])
    assert [row["what"] for row in front.rows("SELECT what FROM events")] == ["answered_by_twilio"]


@pytest.mark.parametrize("told", ["PAUSE", "STOPPED", " ", None])
async def test_what_it_does_not_say_is_as_if_it_were_not_there(front: Front, told: str | None) -> None:
    await front.accept(await front.arrival("Oi", OptOutType=told))
    await front.accept(await front.arrival("Sair", OptOutType=told))
    assert (suppressed(front), statuses(front)) == (["word"], ["received", "received"])


async def test_of_stop_and_start_in_one_batch_the_later_counts(front: Front) -> None:
    stop, start = await front.arrival("a", OptOutType="STOP"), await front.arrival("b", OptOutType="START")
    await front.accept(stop, start)
    assert (suppressed(front), changes(front)) == ([], ["opted_out", "opted_in"])
    start, stop = await front.arrival("a", OptOutType="START"), await front.arrival("b", OptOutType="STOP")
    await front.accept(start, stop)
    assert suppressed(front) == ["word"]


async def test_twilios_words_end_nobodys_turn_and_are_confirmed_by_no_later_one(front: Front) -> None:
    await front.accept(await front.arrival("Oi"), await front.arrival("chega", OptOutType="STOP"))
    mind = Mind()
    await turn(front, mind)
    assert statuses(front) == ["held", "answered"], "what was asked before is for people: the contact wants no answer"
    assert not set(replies(front)) & {*CONFIRMED["opted_out"].values(), *CONFIRMED["opted_in"].values()}
    assert all("chega" not in shown for shown in mind.shown)


async def test_it_counts_at_a_number_that_nobody_added_and_is_not_answered_once_it_is(front: Front) -> None:
    run(front, "UPDATE numbers SET status = 'unrouted'")
    arrived = await front.arrival("chega", OptOutType="STOP", NumMedia="1", MediaUrl0="https://api.twilio.com/x")
    await front.accept(arrived)
    assert (suppressed(front), statuses(front)) == (["word"], ["answered"])
    assert [row["awaits_media"] for row in front.stored()] == [False]

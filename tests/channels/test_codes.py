from __future__ import annotations

import pickle

import pytest

from recado.channels.port import ErrorClass, SendError
from recado.channels.twilio.codes import CODES, OPT_OUT_CODES, classify, owner_text

# Class by class, as Twilio's error pages group what can be done about each.
EXPECTED = {
    "retry": {20429, 21730, 63012, 63018, 63017, 59004, 30001},
    "window": {63016},
    "configuration": {
        *(
            10001,
            20003,
            20005,
            20010,
            20403,
            20404,
            21212,
            21408,
            21601,
            21606,
            21608,
            21612,
            21654,
            21659,
            21660,
            21661,
        ),
        *(21701, 21705, 21910, 30002, 30016, 63001, 63007, 63008, 63015, 63031, 63051, 63062, 63101, 90010),
    },
    "recipient": {21211, 21610, 21614, 63003, 63014, 63024, 63033},
    "content": {21617, 21620, 21655, 21656, 21658, 63005, 63006, 63013, 63019, 63020, 63021, 63030, 63032, 63034},
    "template": {63027, 63028, 63029, 63040, 63041},
    "quota": {21611, 63038},
}


def test_every_code_has_its_class_and_words_of_its_own() -> None:
    by_class: dict[str, set[int]] = {}
    for code, (error_class, text) in CODES.items():
        by_class.setdefault(error_class.value, set()).add(code)
        assert text.endswith(".")
        assert classify(400, code) is classify(None, code) is error_class
        assert owner_text(code, error_class) == text
    assert by_class == EXPECTED
    assert EXPECTED["recipient"] >= OPT_OUT_CODES


@pytest.mark.parametrize("code", [None, 20500, 63018, 21211])
def test_after_a_server_error_the_outcome_is_unknown_whatever_the_code(code: int | None) -> None:
    for status in (500, 502, 503, 504, 408, 200):
        assert classify(status, code) is ErrorClass.UNKNOWN


@pytest.mark.parametrize("code", [None, 20429, 12345])
def test_too_many_requests_may_be_retried(code: int | None) -> None:
    assert classify(429, code) is ErrorClass.RETRY


def test_a_refusal_that_we_do_not_know_is_looked_at_and_what_twilio_failed_for_an_unknown_reason_is_final() -> None:
    for status in (400, 402, 409, 413, 422):
        assert classify(status, 99999) is classify(status, None) is ErrorClass.LOOK
    assert classify(None, 99999) is classify(None, None) is ErrorClass.CONTENT
    for status in (301, 307, 401, 403, 404):
        assert classify(status, None) is ErrorClass.CONFIGURATION


@pytest.mark.parametrize("error_class", list(ErrorClass))
def test_every_class_has_words(error_class: ErrorClass) -> None:
    error = SendError(error_class, owner_text(None, error_class))
    assert str(error).endswith(".")


def test_a_send_error_survives_pickling() -> None:
    error = SendError(ErrorClass.RETRY, "Wait.", 20429, 3.5)
    again = pickle.loads(pickle.dumps(error))
    assert (again.error_class, again.owner_text, again.code, again.retry_after_s) == ("retry", "Wait.", 20429, 3.5)
    assert str(again) == "Wait. (Twilio 20429)"

"""Every kind of message that a person can send becomes the webhook that Twilio makes of it."""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import av
import pytest
from simulator_stage import ACCOUNT, CONTACT, NUMBER, TOKEN, Receiver
from twilio.request_validator import RequestValidator

from recado.channels.twilio.parse import parse_inbound
from recado.simulator.client import SimulatorClient, SimulatorError
from recado.simulator.handset import Phone
from recado.simulator.views import Sent

EXAMPLES = json.loads((Path(__file__).parents[1] / "data" / "twilio-examples.json").read_text())["inbound"]
NOTE = b"OggS" + bytes(200)


@pytest.fixture
def phone(sim: SimulatorClient) -> Phone:
    return Phone(client=sim, account_sid=ACCOUNT, number=NUMBER, address=CONTACT, name="José 😀")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "comprovante.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0" + bytes(300))
    return path


@pytest.fixture
def note(tmp_path: Path) -> Path:
    path = tmp_path / "nota.ogg"
    path.write_bytes(NOTE)
    return path


def expected(kind: str, sent: Sent, **changes: str) -> dict[str, str]:
    sids = {"SmsMessageSid": sent.sid, "SmsSid": sent.sid, "MessageSid": sent.sid}
    return {**EXAMPLES[kind]["params"], **sids, "AccountSid": ACCOUNT, **changes}


def media_url(sim: SimulatorClient, message_sid: str, media_sid: str) -> str:
    return f"{sim.base_url}/2010-04-01/Accounts/{ACCOUNT}/Messages/{message_sid}/Media/{media_sid}"


async def test_a_voice_note_is_the_webhook_of_the_example(
    sim: SimulatorClient, phone: Phone, receiver: Receiver, note: Path
) -> None:
    sent = await phone.voice(note)
    (bubble,) = await sim.thread(CONTACT)
    assert sent.sid.startswith("MM")
    url = media_url(sim, sent.sid, bubble.files[0].sid)
    assert receiver.hits[0].params == expected("voice", sent, MediaUrl0=url)
    assert (bubble.kind, bubble.files[0].content_type, bubble.files[0].size_bytes) == ("audio", "audio/ogg", 204)
    assert await sim.file(bubble.files[0].sid) == NOTE


async def test_a_picture_carries_its_caption(
    sim: SimulatorClient, phone: Phone, receiver: Receiver, picture: Path
) -> None:
    sent = await phone.picture(picture, EXAMPLES["image"]["params"]["Body"])
    (bubble,) = await sim.thread(CONTACT)
    assert receiver.hits[0].params == expected("image", sent, MediaUrl0=media_url(sim, sent.sid, bubble.files[0].sid))


KINDS: dict[str, Callable[[Phone], Awaitable[Sent]]] = {
    "text": lambda phone: phone.says(EXAMPLES["text"]["params"]["Body"]),
    "location": lambda phone: phone.place(-23.5614, -46.6559, label="MASP", address="Av. Paulista, 1578 - São Paulo"),
    "button": lambda phone: phone.button("Confirmar", "confirm_42", quotes="MM" + "9" * 32),
    "list": lambda phone: phone.chooses("invoice_copy", "Segunda via", "Receber o boleto", quotes="MM" + "8" * 32),
    "reply": lambda phone: phone.quotes("SM" + "9" * 32, "Esse aqui"),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_kinds_without_a_file_are_the_webhooks_of_the_examples(
    phone: Phone, receiver: Receiver, kind: str
) -> None:
    sent = await KINDS[kind](phone)
    (hit,) = receiver.hits
    assert hit.params == expected(kind, sent)
    url = f"{receiver.url}/inbound?tenant=acme"
    assert RequestValidator(TOKEN).validate(url, hit.params, hit.headers["X-Twilio-Signature"])


OTHERS: list[tuple[str, Callable[[Phone], Awaitable[Sent]], dict[str, str | None]]] = [
    (
        "a document's Body is its file name",
        lambda phone: phone.sends_bytes(b"%PDF-1.7", content_type="application/pdf", file_name="conta.pdf"),
        {"MessageType": "document", "Body": "conta.pdf", "MediaContentType0": "application/pdf", "NumMedia": "1"},
    ),
    (
        "a video has a caption",
        lambda phone: phone.sends_bytes(b"\0\0\0\x18ftypmp42", content_type="video/mp4", caption="veja"),
        {"MessageType": "video", "Body": "veja", "MediaContentType0": "video/mp4"},
    ),
    (
        "a sticker says nothing",
        lambda phone: phone.sends_bytes(b"RIFF\0\0\0\0WEBP", content_type="image/webp", caption="x"),
        {"MessageType": "sticker", "Body": "", "MediaContentType0": "image/webp"},
    ),
    (
        "a contact card is a file",
        lambda phone: phone.card("Dona Ana", "+5511912345678"),
        {"MessageType": "contacts", "Body": "", "MediaContentType0": "text/vcard", "NumMedia": "1"},
    ),
    (
        "what is forwarded says so",
        lambda phone: phone.forwards("corrente", often=True),
        {"MessageType": "text", "Body": "corrente", "Forwarded": "true", "FrequentlyForwarded": "true"},
    ),
    (
        "an advertisement is named",
        lambda phone: phone.comes_from_ad("oi", headline="Pão quente"),
        {"Body": "oi", "ReferralHeadline": "Pão quente", "ReferralSourceType": "ad", "ReferralNumMedia": "0"},
    ),
    (
        "an answer about calls is no word of the contact",
        lambda phone: phone.allows_calls("REJECTED"),
        {"Body": "VOICE_CALL_REQUEST", "ButtonText": "VOICE_CALL_REQUEST", "ButtonPayload": "REJECTED"},
    ),
    (
        "a card's quick reply tells its title only",
        lambda phone: phone.button("Ver mais"),
        {"MessageType": "button", "Body": "Ver mais", "ButtonPayload": None, "ButtonText": None},
    ),
    (
        "an unknown kind has no words",
        lambda phone: phone.sends_unknown("order"),
        {"MessageType": "order", "Body": "", "NumMedia": "0"},
    ),
]


@pytest.mark.parametrize(("says", "send", "params"), OTHERS, ids=[says for says, _, _ in OTHERS])
async def test_other_kinds_have_their_parameters_and_are_read_by_the_product(
    phone: Phone,
    receiver: Receiver,
    says: str,
    send: Callable[[Phone], Awaitable[Sent]],
    params: dict[str, str | None],
) -> None:
    await send(phone)
    (hit,) = receiver.hits
    assert {name: hit.params.get(name) for name in params} == params
    assert parse_inbound(list(hit.params.items())).message_sid == hit.params["MessageSid"]


async def test_a_business_scoped_sender_has_an_id_and_no_number(sim: SimulatorClient, receiver: Receiver) -> None:
    address = "whatsapp:US.13491208655302741918"
    await Phone(client=sim, account_sid=ACCOUNT, number=NUMBER, address=address, name="Ana").says("oi")
    params = receiver.hits[0].params
    assert (params["From"], params["ExternalUserId"]) == (address, "US.13491208655302741918")
    assert "WaId" not in params


async def test_an_album_is_a_burst_of_webhooks_with_the_caption_on_the_first(
    sim: SimulatorClient, phone: Phone, receiver: Receiver, picture: Path, tmp_path: Path
) -> None:
    pdf = tmp_path / "contrato.pdf"
    pdf.write_bytes(b"%PDF-1.7")
    sent = await phone.album([picture, picture, pdf], "três arquivos")
    assert sent.statuses == [200, 200, 200]
    assert {hit.params["MessageSid"] for hit in receiver.hits} == set(sent.sids)
    assert {hit.params["NumMedia"] for hit in receiver.hits} == {"1"}
    thread = await sim.thread(CONTACT)
    assert [(bubble.sid, bubble.body) for bubble in thread] == list(
        zip(sent.sids, ["três arquivos", "", "contrato.pdf"], strict=True)
    )


async def test_a_quote_names_who_wrote_what_it_quotes(phone: Phone, receiver: Receiver, sim: SimulatorClient) -> None:
    own = await phone.says("primeira")
    await phone.quotes(own.sid, "sobre isso")
    params = receiver.hits[-1].params
    assert (params["OriginalRepliedMessageSid"], params["OriginalRepliedMessageSender"]) == (own.sid, CONTACT)
    assert (await sim.thread(CONTACT))[-1].quotes == own.sid


@pytest.mark.parametrize(
    ("content_type", "size", "limit"),
    [("image/jpeg", 5 * 1024 * 1024, "5242880"), ("application/pdf", 16 * 1024 * 1024, "16777216")],
)
async def test_whatsapp_takes_files_up_to_its_limits(
    sim: SimulatorClient, content_type: str, size: int, limit: str
) -> None:
    await sim.keep_file(bytes(size), account_sid=ACCOUNT, content_type=content_type)
    with pytest.raises(SimulatorError, match=f"413.*{limit}"):
        await sim.keep_file(bytes(size + 1), account_sid=ACCOUNT, content_type=content_type)


async def test_a_file_is_sent_once_and_by_its_own_account(sim: SimulatorClient, phone: Phone) -> None:
    sid = await sim.keep_file(b"x", account_sid=ACCOUNT, content_type="text/plain")
    await phone.says("", files=[sid])
    with pytest.raises(SimulatorError, match="409"):
        await phone.says("", files=[sid])
    with pytest.raises(SimulatorError, match="404"):
        await phone.says("", files=["ME" + "0" * 32])


def webm(seconds: float = 0.5) -> bytes:
    """A recording as a browser makes it."""
    out = io.BytesIO()
    with av.open(out, "w", format="webm") as goal:
        stream = goal.add_stream("libopus", rate=48_000, layout="mono")
        for index in range(int(seconds * 50)):
            frame = av.AudioFrame(format="s16", layout="mono", samples=960)
            frame.sample_rate, frame.pts = 48_000, index * 960
            frame.planes[0].update(bytes(1920))
            goal.mux(stream.encode(frame))
        goal.mux(stream.encode(None))
    return out.getvalue()


async def test_a_browsers_recording_is_sent_as_ogg_with_opus(
    sim: SimulatorClient, phone: Phone, receiver: Receiver
) -> None:
    sid = await sim.keep_file(webm(), account_sid=ACCOUNT, content_type="audio/webm;codecs=opus", recording=True)
    await phone.says("", files=[sid])
    assert receiver.hits[0].params["MediaContentType0"] == "audio/ogg"
    data = await sim.file(sid)
    assert data.startswith(b"OggS")
    with av.open(io.BytesIO(data)) as kept:
        (stream,) = kept.streams
        assert stream.codec_context.name == "opus"
        seconds = sum(frame.samples for frame in kept.decode(stream)) / 48_000
    assert 0.4 < seconds < 0.7


@pytest.mark.parametrize("data", [b"", b"no sound", b"\x1aE\xdf\xa3" + bytes(100)])
async def test_a_recording_without_sound_is_refused(sim: SimulatorClient, data: bytes) -> None:
    with pytest.raises(SimulatorError, match="415"):
        await sim.keep_file(data, account_sid=ACCOUNT, content_type="audio/webm", recording=True)


@pytest.mark.parametrize(
    "more",
    [
        {"place": {"latitude": 91, "longitude": 0}},
        {"kind": "Not A Kind"},
        {"call_permission": "MAYBE"},
        {"unknown": 1},
    ],
)
async def test_what_no_phone_can_send_is_refused(phone: Phone, more: dict[str, Any]) -> None:
    with pytest.raises(SimulatorError, match="422"):
        await phone.says("x", **more)

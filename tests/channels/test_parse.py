from __future__ import annotations

import json
from dataclasses import fields as fields_of

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.channels.port import Inbound, Receipt
from recado.channels.twilio.addresses import (
    canonical_address,
    forms_of,
    given_address,
    identity_key,
    is_whatsapp,
    other_channels_address,
)
from recado.channels.twilio.parse import (
    contact_words,
    is_call,
    parse_inbound,
    parse_receipt,
    read_payload,
    read_stored,
    unread,
)
from recado.errors import Rejected
from tests.channels.examples import EXAMPLES, inbound, status

NAMES = sorted(
    {name for example in EXAMPLES["inbound"].values() for name in example["params"]}
    | {name for example in EXAMPLES["status"].values() for name in example["params"]}
    | {f"{name}{index}" for name in ("MediaUrl", "MediaContentType") for index in (1, 9, 10)}
)
NUMBERS = ["", "0", "999999", "9" * 5000, "-1", "1e999", "NaN"]
HALVES = ["\ud83d", "\0"]
MEANINGFUL = ["whatsapp:+5511987654321", "AC" + "0" * 32, "SM" + "a" * 32, "received", "sent", "VOICE_CALL_REQUEST"]
KINDS = ["text", "location", "document", "button"]
values = st.text(st.characters(), max_size=30) | st.sampled_from([*NUMBERS, *HALVES, *MEANINGFUL, *KINDS])
forms = st.lists(st.tuples(st.sampled_from(NAMES) | st.text(st.characters(), max_size=9), values), max_size=40)


@given(forms, st.sampled_from(["none", "inbound", "status"]))
def test_any_form_is_read_or_refused_and_what_is_read_can_be_stored(odd: list[tuple[str, str]], base: str) -> None:
    whole = {"none": [], "inbound": inbound(), "status": status()}[base]
    for params in (odd, [*whole, *odd], [*odd, *whole]):
        for parse in (parse_inbound, parse_receipt):
            try:
                read: Inbound | Receipt = parse(params)
            except Rejected:
                continue
            texts = [getattr(read, field.name) for field in fields_of(read)]
            if isinstance(read, Inbound):
                texts += [contact_words(read), json.dumps(dict(read.parameters), ensure_ascii=False), *read.parameters]
                texts += [text for media in read.media for text in (media.url, media.content_type, media.file_name)]
                assert len(read.media) <= 10
            for text in texts:
                if isinstance(text, str):
                    assert "\0" not in text
                    text.encode()


def test_a_text_message_is_read_with_what_came_as_it_came() -> None:
    message = parse_inbound(inbound(), idempotency_token="abc")
    assert message.account_sid == "AC" + "0" * 32
    assert message.message_sid == "SM" + "1" * 32
    assert (message.from_address, message.to_address) == ("whatsapp:+5511987654321", "whatsapp:+14155238886")
    assert message.identity_key == "whatsapp:+5511987654321"
    assert (message.kind, message.body) == ("text", "Olá, tudo bem? ")
    assert (message.profile_name, message.wa_id, message.idempotency_token) == ("José 😀", "5511987654321", "abc")
    assert message.parameters["ReferralNumMedia"] == ["0"]
    assert contact_words(message) == "Olá, tudo bem? "


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("voice", "audio", ""),
        ("image", "image", "Segue o comprovante 🧾"),
        ("location", "location", ""),
        ("button", "button", "Confirmar"),
        ("list", "interactive", "Segunda via"),
        ("reply", "text", "Esse aqui"),
    ],
)
def test_every_kind_gives_the_words_that_the_contact_said(name: str, kind: str, words: str) -> None:
    message = parse_inbound(inbound(name))
    assert (message.kind, contact_words(message)) == (kind, words)
    guessed = parse_inbound(inbound(name, MessageType=None))
    assert (guessed.kind, contact_words(guessed)) == (kind, words)


def test_what_a_button_a_list_and_a_reply_carry_is_read() -> None:
    assert parse_inbound(inbound("button")).button_payload == "confirm_42"
    assert parse_inbound(inbound("list")).list_id == "invoice_copy"
    assert parse_inbound(inbound("reply")).replied_to_sid == "SM" + "9" * 32
    assert parse_inbound(inbound("location")).latitude == -23.5614


@pytest.mark.parametrize("name", EXAMPLES["inbound"])
def test_of_what_twilio_posts_today_nothing_is_left_unread(name: str) -> None:
    assert unread(parse_inbound(inbound(name))) == {}


def test_what_nobody_reads_yet_is_known_by_its_name() -> None:
    message = parse_inbound(
        [*inbound(MessageType="order", OrderText="2 bolos"), ("Item", "a"), ("Item", "b"), ("No", "")]
    )
    assert unread(message) == {"OrderText": "2 bolos", "Item": "a, b"}


def test_a_tap_is_a_button_whichever_of_its_two_names_it_comes_under() -> None:
    told = parse_inbound(inbound("button", MessageType="interactive"))
    assert (told.kind, contact_words(told)) == ("button", "Confirmar")
    assert parse_inbound(inbound("list", ButtonPayload="x")).kind == "interactive"


def test_media_are_what_is_there_whatever_nummedia_says() -> None:
    for count in ("0", "999999", "x", "9" * 5000, None):
        (media,) = parse_inbound(inbound("voice", NumMedia=count)).media
        assert media.content_type == "audio/ogg"
        assert media.url.endswith("/Media/ME" + "2" * 32)


def test_an_odd_media_type_is_just_bytes() -> None:
    for odd in ("", "nonsense", "text/html<script>", "a/b/c"):
        (media,) = parse_inbound(inbound("voice", MediaContentType0=odd)).media
        assert media.content_type == "application/octet-stream"
    (media,) = parse_inbound(inbound("voice", MediaContentType0="Audio/OGG; codecs=opus")).media
    assert media.content_type == "audio/ogg"


def test_a_documents_body_is_its_file_name_and_not_the_contacts_words() -> None:
    message = parse_inbound(inbound("image", MessageType="document", Body="contrato.pdf"))
    assert message.media[0].file_name == "contrato.pdf"
    assert contact_words(message) == ""


@pytest.mark.parametrize("answer", ["ACCEPTED", "REJECTED"])
def test_the_answer_to_a_call_request_is_not_the_contacts_words(answer: str) -> None:
    words = "VOICE_CALL_REQUEST"
    message = parse_inbound(inbound("button", Body=words, ButtonText=words, ButtonPayload=answer))
    assert (message.kind, message.button_payload, contact_words(message)) == ("call_permission", answer, "")


def test_a_cards_reply_may_carry_only_its_title_in_the_body() -> None:
    message = parse_inbound(inbound("button", ButtonText=None, ButtonPayload=None, Body="Sim"))
    assert contact_words(message) == "Sim"


def test_a_missing_body_is_an_empty_one() -> None:
    assert parse_inbound(inbound(Body=None)).body == ""


def test_nul_and_halves_of_characters_are_taken_out_and_whole_ones_joined() -> None:
    assert parse_inbound(inbound(Body="a\0b\ud83d\ude00\ud83dc")).body == "ab😀\ufffdc"


def test_repeated_parameters_are_kept() -> None:
    assert parse_inbound([*inbound(), ("New", "1"), ("New", "2")]).parameters["New"] == ["1", "2"]


@pytest.mark.parametrize(
    ("shown", "name"),
    [
        ("José 😀", "José 😀"),
        ("Ana\u202egpj.exe", "Anagpj.exe"),
        ("\u2066Ana\u2069\u200b\ufeff \n\t Silva\u200d", "Ana Silva"),
        ("👩\u200d💻 Bia", "👩\u200d💻 Bia"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("\u3164\u2800\u200d", None),
        ("Jose\u0301", "José"),
        ("a" * 500, "a" * 128),
        ("", None),
    ],
)
def test_a_profile_name_is_shown_on_one_line_without_anything_invisible(shown: str, name: str | None) -> None:
    assert parse_inbound(inbound(ProfileName=shown)).profile_name == name


@pytest.mark.parametrize(
    ("latitude", "longitude"), [("91", "0"), ("nan", "0"), ("1e5", "0"), ("x", "0"), ("", "0"), ("0", "-180.1")]
)
def test_a_place_that_is_not_on_this_planet_is_none(latitude: str, longitude: str) -> None:
    message = parse_inbound(inbound("location", Latitude=latitude, Longitude=longitude))
    assert message.latitude is None or message.longitude is None
    assert (message.label, message.address) == ("MASP", "Av. Paulista, 1578 - São Paulo")


@pytest.mark.parametrize(
    "changes",
    [
        {"AccountSid": None},
        {"AccountSid": "AC123"},
        {"AccountSid": "' OR 1=1 --"},
        {"MessageSid": "SMx", "SmsMessageSid": None, "SmsSid": None},
        {"MessageSid": None, "SmsMessageSid": None, "SmsSid": None},
        {"From": None},
        {"From": "   "},
        {"From": "whatsapp:+5511\n987654321"},
        {"To": "x" * 256},
        {"SmsStatus": "delivered"},
    ],
)
def test_what_can_not_be_kept_is_refused_without_saying_what_it_held(changes: dict[str, str | None]) -> None:
    with pytest.raises(Rejected) as refused:
        parse_inbound(inbound(**changes))
    assert refused.value.status == 400
    for value in changes.values():
        assert value is None or value == "delivered" or value.strip() == "" or value not in refused.value.reason


@pytest.mark.parametrize("name", ["AccountSid", "MessageSid", "From", "To"])
def test_two_values_for_what_names_the_message_are_refused(name: str) -> None:
    with pytest.raises(Rejected, match=f"{name} has more than one value"):
        parse_inbound([*inbound(), (name, "AC" + "1" * 32)])


def test_the_sid_of_the_message_may_come_under_its_old_names() -> None:
    assert parse_inbound(inbound(MessageSid=None)).message_sid == "SM" + "1" * 32


@pytest.mark.parametrize(
    ("forms_of_one", "key"),
    [
        (["whatsapp:+5511987654321", "+5511987654321", "5511987654321", "WhatsApp:+551187654321", " 551187654321"],
         "whatsapp:+5511987654321"),
        (["whatsapp:+551133334444"], "whatsapp:+551133334444"),
        (["whatsapp:+5215512345678", "whatsapp:+525512345678"], "whatsapp:+525512345678"),
        (["whatsapp:+5491123456789", "whatsapp:+541123456789"], "whatsapp:+541123456789"),
        (["whatsapp:+14155238886", "whatsapp: 14155238886"], "whatsapp:+14155238886"),
        (["whatsapp:US.13491208655302741918", "US.13491208655302741918"], "whatsapp:US.13491208655302741918"),
        (["messenger:1234"], "messenger:1234"),
    ],
)  # fmt: skip
def test_all_forms_of_a_persons_address_have_one_key(forms_of_one: list[str], key: str) -> None:
    for form in forms_of_one:
        message = parse_inbound(inbound(From=form, WaId=None))
        assert message.identity_key == key
        assert message.from_address == canonical_address(form), "the reply goes to the canonical form"


area = st.integers(11, 99).filter(lambda code: code % 10)
mobile = st.integers(6_0000000, 9_9999999)
line = st.integers(10**9, 10**10 - 1)


@given(area, mobile, line)
def test_both_forms_of_a_number_are_one_person_and_other_numbers_are_others(area: int, mobile: int, line: int) -> None:
    for one, other in ((f"55{area}{mobile}", f"55{area}9{mobile}"), (f"521{line}", f"52{line}"),
                       (f"549{line}", f"54{line}")):  # fmt: skip
        assert identity_key(one) == identity_key(f"whatsapp:+{other}")
        stranger = one[:-1] + str((int(one[-1]) + 1) % 10)
        assert identity_key(stranger) != identity_key(one)
        assert identity_key("1" + one) != identity_key(one)


@given(st.from_regex(r"\A[1-9][0-9]{6,14}\Z"), st.from_regex(r"\A[1-9][0-9]{6,14}\Z"))
def test_two_people_have_two_keys(one: str, other: str) -> None:
    """Outside the three countries whose numbers have two forms."""
    if one != other and not {one[:2], other[:2]} & {"55", "52", "54"}:
        assert identity_key(one) != identity_key(other)


def test_a_business_scoped_id_with_the_persons_number_beside_it_is_that_person() -> None:
    scoped = "whatsapp:US.13491208655302741918"
    both = parse_inbound(inbound(From=scoped, WaId="551187654321", ExternalUserId="US.13491208655302741918"))
    assert both.identity_key == parse_inbound(inbound()).identity_key
    assert both.from_address == scoped, "the reply goes to the address as it came"
    assert both.external_id == scoped
    for odd in (None, "", "US.13491208655302741918", "x" * 300, "55119\n87654321"):
        assert parse_inbound(inbound(From=scoped, WaId=odd)).identity_key == scoped
    assert parse_inbound(inbound(WaId="14155238886")).identity_key == "whatsapp:+5511987654321"


def test_what_was_passed_on_is_told_from_what_was_passed_on_often() -> None:
    assert parse_inbound(inbound()).forwarded is None
    assert parse_inbound(inbound(Forwarded="true")).forwarded == "once"
    assert parse_inbound(inbound(Forwarded="true", FrequentlyForwarded="true")).forwarded == "often"
    assert parse_inbound(inbound(Forwarded="false", FrequentlyForwarded="")).forwarded is None


def test_an_advertisement_is_read_and_no_parameter_of_one_is_none() -> None:
    referral = parse_inbound(inbound(ReferralHeadline="Bolos", ReferralSourceType="ad", ReferralCtwaClid="c")).referral
    assert referral is not None
    assert (referral.headline, referral.source_type, referral.click_id, referral.body) == ("Bolos", "ad", "c", None)
    assert parse_inbound(inbound()).referral is None


@pytest.mark.parametrize("told", ["image", None])
def test_a_picture_of_the_type_that_only_stickers_have_is_a_sticker(told: str | None) -> None:
    sticker = inbound("image", MessageType=told, MediaContentType0="image/webp", Body="")
    assert parse_inbound(sticker).kind == "sticker"
    assert parse_inbound(inbound("image", MessageType="document", MediaContentType0="image/webp")).kind == "document"


def test_a_kind_that_nobody_knows_is_kept_with_its_words() -> None:
    message = parse_inbound(inbound(MessageType="order", Body="2 bolos", OrderId="7"))
    assert (message.kind, contact_words(message), message.parameters["OrderId"]) == ("order", "2 bolos", ["7"])


@pytest.mark.parametrize("name", sorted(EXAMPLES["inbound"]))
def test_what_was_stored_is_read_again_as_it_was_read_first(name: str) -> None:
    message = parse_inbound(inbound(name))
    assert read_stored(json.loads(json.dumps(dict(message.parameters)))) == message


@given(st.text(max_size=40) | st.from_regex(r"\A(whatsapp:)?\+?(55|52|54)[0-9]{6,12}\Z"))
def test_a_key_is_its_own_key_and_an_address_its_own_address(address: str) -> None:
    assert identity_key(identity_key(address)) == identity_key(address)
    assert canonical_address(canonical_address(address)) == canonical_address(address)


def test_an_address_to_look_up_keeps_its_digits() -> None:
    assert canonical_address("+551187654321") == "whatsapp:+551187654321"


@pytest.mark.parametrize("name", ["sent", "delivered"])
def test_a_status_callback_is_read(name: str) -> None:
    receipt = parse_receipt(status(name))
    assert (receipt.status, receipt.error_code, receipt.message_sid) == (name, None, "SM" + "0a" * 16)


def test_a_failure_is_read_with_its_code_and_the_channels_words() -> None:
    receipt = parse_receipt(status("undelivered_63016"))
    assert (receipt.status, receipt.error_code) == ("undelivered", 63016)
    assert (receipt.error_text, receipt.event_type) == ("Re-engagement message", "UNDELIVERED")


def test_an_odd_error_code_is_none() -> None:
    for odd in ("", "0", "x", "9" * 5000, "-1", "٣"):
        assert parse_receipt(status(ErrorCode=odd)).error_code is None


def test_the_status_may_come_under_its_old_name_and_be_a_new_word() -> None:
    assert parse_receipt(status(MessageStatus=None)).status == "sent"
    assert parse_receipt(status(MessageStatus="teleported")).status == "teleported"


@pytest.mark.parametrize("word", ["received", "", "x y", "é", "a" * 33])
def test_what_is_no_outbound_status_is_refused(word: str) -> None:
    with pytest.raises(Rejected):
        parse_receipt(status(MessageStatus=word, SmsStatus=None))


def test_what_people_wrote_and_who_they_are_is_in_no_repr() -> None:
    message = parse_inbound(inbound("location", Body="segredo"), idempotency_token="abc")
    shown = repr(message) + repr(parse_receipt(status("undelivered_63016"))) + repr(read_payload(inbound()))
    for private in ("segredo", "5511987654321", "José", "Paulista", "-23.5", "Re-engagement"):
        assert private not in shown


WAYS_TO_WRITE = [
    "whatsapp:+5511987654321",
    "whatsapp:5511987654321",
    "whatsapp: 5511987654321",
    "WhatsApp:+5511987654321",
    "WHATSAPP: +55 (11) 98765-4321",
    "whatsapp :+55 11 98765.4321",
    "whatsapp:+55\u00a011\u201098765\u20114321",
    "whatsapp：＋５５１１９８７６５４３２１",
    "whatsapp:+٥٥١١٩٨٧٦٥٤٣٢١",
    "whatsapp:\u202a+5511987654321\u202c",
    "whatsapp:005511987654321",
]


@pytest.mark.parametrize("form", WAYS_TO_WRITE)
def test_however_an_address_is_written_the_reply_goes_to_its_canonical_form(form: str) -> None:
    message = parse_inbound(inbound(From=form, To=form.replace("5511987654321", "14155238886"), WaId=None))
    assert (message.channel, message.from_address) == ("whatsapp", "whatsapp:+5511987654321")
    assert message.identity_key == "whatsapp:+5511987654321"
    assert given_address(form) == "whatsapp:+5511987654321"
    assert message.parameters["From"] == [form]


def test_a_reply_keeps_the_digits_that_came_and_a_scoped_id_its_own_form() -> None:
    assert parse_inbound(inbound(From="whatsapp:551187654321")).from_address == "whatsapp:+551187654321"
    assert parse_inbound(inbound(From="WhatsApp: US.1349x", WaId=None)).from_address == "whatsapp:US.1349x"
    assert forms_of("whatsapp:+551187654321") == ("whatsapp:+551187654321", "whatsapp:+5511987654321")
    assert forms_of("whatsapp:+5511987654321") == ("whatsapp:+5511987654321", "whatsapp:+551187654321")
    assert forms_of("whatsapp:+14155238886") == ("whatsapp:+14155238886",)


@given(st.sampled_from(WAYS_TO_WRITE) | st.from_regex(r"\A(whatsapp:)?\+?(55|521?|549?)[0-9]{8,11}\Z"))
def test_all_forms_that_may_be_listed_are_of_one_person(address: str) -> None:
    assert {identity_key(form) for form in forms_of(address)} == {identity_key(address)}


SMS = {"WaId": None, "ProfileName": None, "MessageType": None}


@pytest.mark.parametrize(
    ("changes", "channel", "from_address"),
    [
        ({"From": "+5511987654321", "To": "+14155238886"}, "sms", "sms:+5511987654321"),
        ({"From": "5511987654321", "To": "14155238886"}, "sms", "sms:+5511987654321"),
        ({"From": "12345", "To": "+14155238886"}, "sms", "sms:12345"),
        ({"From": "PADARIA", "To": "+14155238886"}, "sms", "sms:PADARIA"),
        ({"From": "MMS:+5511987654321", "To": "+14155238886"}, "mms", "mms:+5511987654321"),
        ({"From": "rcs:+5511987654321", "To": "rcs:padaria_agent"}, "rcs", "rcs:+5511987654321"),
        ({"From": "messenger:1234567890", "To": "messenger:99"}, "messenger", "messenger:1234567890"),
        ({"From": "client:ana", "To": "whatsapp:+14155238886"}, "client", "client:ana"),
        ({"From": "sip:ana@example.com", "To": "+14155238886"}, "sip", "sip:ana@example.com"),
        ({"From": "whatsapp:+5511987654321", "To": "rcs:agent"}, "rcs", "rcs:+5511987654321"),
        ({"From": "+5511987654321", "To": "+14155238886", "ChannelMetadata": '{"type":"rcs"}'}, "rcs",
         "rcs:+5511987654321"),
        ({"From": "+5511987654321", "To": "+14155238886", "ChannelMetadata": "[" * 99}, "sms", "sms:+5511987654321"),
    ],
)  # fmt: skip
def test_an_address_of_another_channel_says_so_and_is_nobody_on_whatsapp(
    changes: dict[str, str], channel: str, from_address: str
) -> None:
    message = parse_inbound(inbound(**{**SMS, **changes, "OptOutType": "STOP"}))
    assert (message.channel, message.from_address, message.identity_key) == (channel, from_address, from_address)
    assert message.to_address.startswith(f"{channel}:")
    assert (message.external_id, message.wa_id, message.opt_out) == (None, None, None)
    assert canonical_address(from_address) == identity_key(from_address) == from_address
    assert not is_whatsapp(from_address)
    assert given_address(changes["From"]) == changes["From"] or channel == "rcs"
    assert read_stored(message.parameters) == message


@pytest.mark.parametrize(
    "changes",
    [
        {"WaId": "5511987654321"},
        {"WaId": None, "ChannelMetadata": '{"type":"whatsapp"}'},
        {"WaId": None, "ChannelPrefix": "whatsapp"},
        {"WaId": None, "From": "US.13491208655302741918"},
    ],
)
def test_without_any_prefix_it_is_whatsapps_where_something_only_whatsapp_has_is_there(
    changes: dict[str, str | None],
) -> None:
    message = parse_inbound(inbound(**{"From": "+5511987654321", "To": "+14155238886", **changes}))
    assert (message.channel, message.to_address) == ("whatsapp", "whatsapp:+14155238886")
    assert message.from_address.startswith("whatsapp:")


@pytest.mark.parametrize("name", ["From", "To"])
@pytest.mark.parametrize("nothing", ["\u200b", "\ufeff \u2060", "\u2800"])
def test_an_address_of_which_nothing_is_seen_is_none(name: str, nothing: str) -> None:
    with pytest.raises(Rejected, match=f"{name} is missing"):
        parse_inbound(inbound(**{name: nothing}))


def test_a_call_is_kept_as_one_and_its_caller_is_nobody_on_whatsapp() -> None:
    gone = {"MessageSid": None, "SmsMessageSid": None, "SmsSid": None, "SmsStatus": None}
    call = inbound(**gone, CallSid="CA" + "a" * 32, CallStatus="ringing", Direction="inbound", Body=None)
    message = parse_inbound(call)
    assert (message.channel, message.kind, message.message_sid) == ("voice", "call", "CA" + "a" * 32)
    assert (message.from_address, message.to_address) == ("voice:+5511987654321", "voice:+14155238886")
    assert contact_words(message) == ""
    assert is_call(call)
    assert not is_call(inbound())
    with pytest.raises(Rejected, match="CallSid is malformed"):
        parse_inbound(inbound(**gone, CallSid="SM" + "a" * 32))


@given(st.text(max_size=40), st.sampled_from(["sms", "rcs", "voice", "messenger"]))
def test_no_address_of_another_channel_is_ever_whatsapps(address: str, channel: str) -> None:
    named = other_channels_address(address, channel)
    assert not is_whatsapp(named)
    assert not identity_key(named).startswith("whatsapp:")
    assert canonical_address(named) == canonical_address(canonical_address(named))


@pytest.mark.parametrize(
    ("told", "heard"),
    [("STOP", "stop"), (" Start ", "start"), ("help", "help"), ("PAUSE", None), ("", None), (None, None)],
)
def test_what_twilio_heard_as_an_opt_out_is_read_and_words_that_it_has_not_are_ignored(
    told: str | None, heard: str | None
) -> None:
    assert parse_inbound(inbound(OptOutType=told)).opt_out == heard

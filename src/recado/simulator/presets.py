"""Faults that have a name and a sentence, for switchboards and command lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One of them; `fields` are those of `faults.Fault`."""

    title: str
    says: str
    fields: dict[str, Any]


PRESETS: dict[str, Preset] = {
    "slow": Preset(
        title="Slow API", says="Every REST call takes two seconds.", fields={"operation": "any", "latency_ms": 2000}
    ),
    "too-many-requests": Preset(
        title="429",
        says="Creating a message answers 20429; it was not taken.",
        fields={"operation": "create", "http_status": 429, "code": 20429, "retry_after_s": 1},
    ),
    "error-before": Preset(
        title="503, not taken",
        says="Creating a message answers 503; it was not taken.",
        fields={"operation": "create", "http_status": 503, "when": "before"},
    ),
    "error-after": Preset(
        title="500, but taken",
        says="Twilio takes the message and answers 500.",
        fields={"operation": "create", "http_status": 500, "when": "after"},
    ),
    "timeout-after": Preset(
        title="Time-out, but taken",
        says="Twilio takes the message and answers nothing for 30 seconds.",
        fields={"operation": "create", "hold_s": 30, "when": "after"},
    ),
    "drop-before": Preset(
        title="Connection cut, not taken",
        says="The connection is cut before the message is taken.",
        fields={"operation": "create", "drop": True, "when": "before"},
    ),
    "drop-after": Preset(
        title="Connection cut, but taken",
        says="Twilio takes the message and cuts the connection.",
        fields={"operation": "create", "drop": True, "when": "after"},
    ),
    "callback-first": Preset(
        title="Callback before the answer",
        says="The first status callback comes before the POST's answer.",
        fields={"operation": "create", "callback_first": True},
    ),
    "fails": Preset(
        title="Delivery fails (63024)",
        says="The message is taken and then fails: invalid recipient.",
        fields={"operation": "create", "delivery_status": "failed", "error_code": 63024},
    ),
    "outside-window": Preset(
        title="Outside 24 hours (63016)",
        says="The message is taken and then undelivered: the window is closed.",
        fields={"operation": "create", "delivery_status": "undelivered", "error_code": 63016},
    ),
    "opted-out": Preset(
        title="Opted out (21610)",
        says="Creating a message answers 21610: the contact has unsubscribed.",
        fields={
            "operation": "create",
            "http_status": 400,
            "code": 21610,
            "error_message": "Attempt to send to unsubscribed recipient",
        },
    ),
    "blocked": Preset(
        title="Blocked (63033)",
        says="The message is taken and then undelivered: the contact has blocked the business.",
        fields={"operation": "create", "delivery_status": "undelivered", "error_code": 63033},
    ),
    "changed-bodies": Preset(
        title="Texts come back changed",
        says="Twilio lists texts with other line ends, quotes and blanks than they were posted with.",
        fields={"operation": "list", "bodies": "all"},
    ),
    "redacted-bodies": Preset(
        title="Texts are redacted",
        says="Twilio lists asterisks instead of texts.",
        fields={"operation": "list", "bodies": "redacted"},
    ),
    "media-late": Preset(
        title="Files come late",
        says="A file is 404 the first two times it is asked for.",
        fields={"operation": "media", "http_status": 404, "count": 2},
    ),
    "media-gone": Preset(
        title="Files are gone", says="A file is never there.", fields={"operation": "media", "http_status": 404}
    ),
    "media-broken": Preset(
        title="Files answer 503",
        says="The host that serves files answers 503.",
        fields={"operation": "file", "http_status": 503},
    ),
    "media-slow": Preset(
        title="Slow files",
        says="A file comes at a KiB each half second.",
        fields={"operation": "file", "chunk_ms": 500},
    ),
    "media-endless": Preset(
        title="Endless files", says="A file has no end.", fields={"operation": "file", "endless": True}
    ),
    "media-wrong-type": Preset(
        title="Files of another kind",
        says="A web page comes in place of the file, under the file's type.",
        fields={"operation": "file", "instead": "<!doctype html><html><script>alert(1)</script></html>"},
    ),
    "media-cut": Preset(
        title="Files break off",
        says="The connection is cut after 512 bytes of a file.",
        fields={"operation": "file", "cut_at": 512},
    ),
    "media-inward": Preset(
        title="Redirect inwards",
        says="A file's redirect leads to a private address.",
        fields={"operation": "media", "redirect_to": "http://169.254.169.254/latest/meta-data/"},
    ),
    "lost-callbacks": Preset(
        title="Lost callbacks", says="Status callbacks never come.", fields={"operation": "callback", "lose": True}
    ),
    "late-callbacks": Preset(
        title="Late callbacks",
        says="Status callbacks come three seconds late.",
        fields={"operation": "callback", "delay_ms": 3000},
    ),
    "duplicate-callbacks": Preset(
        title="Duplicate callbacks",
        says="Every status callback comes twice at once.",
        fields={"operation": "callback", "copies": 2},
    ),
    "disordered-callbacks": Preset(
        title="Disordered callbacks",
        says="A status callback comes after the one that follows it.",
        fields={"operation": "callback", "disorder": True},
    ),
    "duplicate-inbound": Preset(
        title="Duplicate webhooks",
        says="Every inbound webhook comes twice at once.",
        fields={"operation": "inbound", "copies": 2},
    ),
}

"""A contact's phone from Python: every kind of message that a person can send."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from recado.simulator import vcards
from recado.simulator.client import SimulatorClient
from recado.simulator.vcards import Card
from recado.simulator.views import Bubble, Sent

VOICE_TYPE = "audio/ogg"
_TYPES = {".ogg": VOICE_TYPE, ".opus": VOICE_TYPE, ".webp": "image/webp", ".vcf": "text/vcard", ".m4a": "audio/mp4"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Phone:
    """One contact who writes to one number. Every method sends, and answers what the webhook answered.

    All take what `SimulatorClient.send` takes besides: `params` to bend the webhook, `wait=False` not to wait for it.
    """

    client: SimulatorClient = field(repr=False)
    account_sid: str
    number: str
    address: str
    name: str | None = None

    async def says(self, body: str, **more: Any) -> Sent:
        """Words."""
        more.setdefault("profile_name", self.name)
        return await self.client.send(body, account_sid=self.account_sid, from_=self.address, to=self.number, **more)

    async def voice(self, path: Path, *, content_type: str = VOICE_TYPE, **more: Any) -> Sent:
        """A voice note."""
        return await self.sends_file(path, kind="audio", content_type=content_type, **more)

    async def picture(self, path: Path, caption: str = "", **more: Any) -> Sent:
        """A picture, with words under it."""
        return await self.sends_file(path, caption, kind="image", **more)

    async def video(self, path: Path, caption: str = "", **more: Any) -> Sent:
        """A video, with words under it."""
        return await self.sends_file(path, caption, kind="video", **more)

    async def document(self, path: Path, **more: Any) -> Sent:
        """A document; Twilio gives its file name as the Body."""
        return await self.sends_file(path, kind="document", **more)

    async def sticker(self, path: Path, **more: Any) -> Sent:
        """A sticker: a WebP picture."""
        return await self.sends_file(path, kind="sticker", content_type="image/webp", **more)

    async def card(self, name: str, *phones: str, **more: Any) -> Sent:
        """Someone's contact card."""
        data = vcards.write(Card(name=name, phones=phones))
        return await self.sends_bytes(data, kind="contacts", content_type="text/vcard", **more)

    async def place(
        self, latitude: float, longitude: float, *, label: str = "", address: str = "", **more: Any
    ) -> Sent:
        """A pin on the map."""
        place = {"latitude": latitude, "longitude": longitude, "label": label, "address": address}
        return await self.says("", place=place, **more)

    async def taps(self, message: Bubble | str, choice: str, **more: Any) -> Sent:
        """A button, or an item of a list, by its id or title, on a message that came."""
        return await self.client.tap(message if isinstance(message, str) else message.sid, choice, **more)

    async def button(self, title: str, payload: str | None = None, **more: Any) -> Sent:
        """A tap on a button of a message that the simulator does not know."""
        return await self.says("", tap={"title": title, "payload": payload}, **more)

    async def chooses(self, item_id: str, title: str, description: str = "", **more: Any) -> Sent:
        """A choice from a list of a message that the simulator does not know."""
        return await self.says("", pick={"id": item_id, "title": title, "description": description}, **more)

    async def quotes(self, message: Bubble | str, body: str, **more: Any) -> Sent:
        """Words that answer one message, this contact's own or one that came."""
        return await self.says(body, quotes=message if isinstance(message, str) else message.sid, **more)

    async def forwards(self, body: str, *, often: bool = False, **more: Any) -> Sent:
        """Words of someone else."""
        return await self.says(body, forwarded="often" if often else "once", **more)

    async def comes_from_ad(self, body: str, *, headline: str = "", **more: Any) -> Sent:
        """The first words after a tap on an advertisement."""
        return await self.says(body, referral={"headline": headline}, **more)

    async def allows_calls(self, answer: Literal["ACCEPTED", "REJECTED"] = "ACCEPTED", **more: Any) -> Sent:
        """The answer to the business's request to call."""
        return await self.says("", call_permission=answer, **more)

    async def sends_unknown(self, kind: str, **more: Any) -> Sent:
        """A kind that Twilio names and does not carry."""
        return await self.says("", kind=kind, **more)

    async def album(self, paths: Sequence[Path], caption: str = "", **more: Any) -> Sent:
        """Several files at once: a webhook for each, in a burst, the caption with the first; `sids` has all."""
        kept = [await self._keep(path, None) for path in paths]
        return await self.says(caption, files=kept, **more)

    async def sends_file(self, path: Path, caption: str = "", *, content_type: str | None = None, **more: Any) -> Sent:
        """Any file under any type; `kind` says as what."""
        return await self.says(caption, files=[await self._keep(path, content_type)], **more)

    async def sends_bytes(self, data: bytes, *, content_type: str, file_name: str = "", **more: Any) -> Sent:
        """Any bytes under any type; `kind` says as what."""
        sid = await self.client.keep_file(
            data, account_sid=self.account_sid, content_type=content_type, file_name=file_name
        )
        return await self.says(more.pop("caption", ""), files=[sid], **more)

    async def closes_window(self) -> None:
        """24 hours pass: until this contact writes again only templates reach them."""
        await self.client.window(self.address, 0, account_sid=self.account_sid, number=self.number)

    async def _keep(self, path: Path, content_type: str | None) -> str:
        data = await asyncio.to_thread(path.read_bytes)
        guessed = _TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return await self.client.keep_file(
            data, account_sid=self.account_sid, content_type=content_type or guessed, file_name=path.name
        )

"""The templates that every account of the local Twilio starts with, in Portuguese, Spanish and English."""

from __future__ import annotations

import hashlib
import math
from typing import Any

from recado.simulator.contents import Approval, ApprovalStatus, Content, shown_type

_READY = {
    "pt_BR": "Olá, {{1}}! Seu pedido {{2}} está pronto para retirada.",
    "es": "¡Hola, {{1}}! Su pedido {{2}} está listo para recoger.",
    "en": "Hello, {{1}}! Your order {{2}} is ready for pick-up.",
}
_CONTINUE = {
    "pt_BR": ("Oi, {{1}}! Vimos a sua mensagem. Podemos continuar a conversa?", "Sim, continuar", "Agora não"),
    "es": ("¡Hola, {{1}}! Vimos su mensaje. ¿Podemos seguir la conversación?", "Sí, seguir", "Ahora no"),
    "en": ("Hi, {{1}}! We saw your message. May we go on with the conversation?", "Yes, go on", "Not now"),
}
_NAMES = {"pt_BR": "Maria", "es": "María", "en": "Mary"}


def seeded(account_sid: str, now: float) -> list[Content]:
    """The account's templates: two in three languages that are approved, one that is pending, one that was rejected.

    Their sids depend on the account and the name alone, so that a restart changes nothing for who stored them.
    """

    def made(
        name: str, language: str, category: str, types: dict[str, Any], *, status: ApprovalStatus = "approved"
    ) -> Content:
        digest = hashlib.sha256(f"{account_sid}/{name}/{language}".encode()).hexdigest()[:32]
        reason = "INVALID_FORMAT: the variables stand next to each other" if status == "rejected" else ""
        return Content(
            sid="HX" + digest,
            account_sid=account_sid,
            friendly_name=name,
            language=language,
            variables={"1": _NAMES[language], "2": "A-1042"} if name == "order_ready" else {"1": _NAMES[language]},
            types=types,
            created_at=now,
            updated_at=now,
            approval=Approval(
                name=name,
                category=category,
                content_type=shown_type(types),
                status=status,
                rejection_reason=reason,
                # What is pending here stays so: there must be one to see.
                asked_at=math.inf if status == "pending" else now,
            ),
        )

    ready = [
        made("order_ready", language, "UTILITY", {"twilio/text": {"body": body}}) for language, body in _READY.items()
    ]
    going_on = [
        made(
            "continue_conversation",
            language,
            "MARKETING",
            {
                "twilio/quick-reply": {
                    "body": body,
                    "actions": [
                        {"type": "QUICK_REPLY", "title": yes, "id": "continue"},
                        {"type": "QUICK_REPLY", "title": no, "id": "not_now"},
                    ],
                }
            },
        )
        for language, (body, yes, no) in _CONTINUE.items()
    ]
    offer = {"twilio/text": {"body": "Olá, {{1}}! Hoje o pão doce sai pela metade do preço."}}
    refused = {"twilio/text": {"body": "{{1}}"}}
    return [
        *ready,
        *going_on,
        made("weekly_offer", "pt_BR", "MARKETING", offer, status="pending"),
        made("just_a_variable", "pt_BR", "UTILITY", refused, status="rejected"),
    ]

"""What a model's tokens cost, by the price list that comes with `genai-prices`; nothing is fetched."""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_CEILING

#: Prefixes of models whose provider the price list knows by another name.
_PROVIDERS = {"google-gla": "google", "google-vertex": "google", "openai-chat": "openai", "openai-responses": "openai"}


_read = False


def at_hand() -> bool:
    """Whether the list has been read, so that a call is short enough for an event loop."""
    return _read


def cost_micros(model: str, *, input_tokens: int, output_tokens: int, at: datetime) -> int | None:
    """Millionths of a US dollar, rounded up; None when the list does not know the model at that provider.

    The first call loads the list: tens of milliseconds, not for an event loop.
    """
    try:
        from genai_prices import Usage, calc_price
    except ImportError:  # installed with the extra `models`, like the models themselves
        return None
    global _read
    provider, colon, name = model.partition(":")
    if not colon:
        return None
    try:
        price = calc_price(
            Usage(input_tokens=input_tokens, output_tokens=output_tokens),
            name,
            provider_id=_PROVIDERS.get(provider, provider),
            genai_request_timestamp=at,
        )
    except LookupError:
        return None
    finally:
        _read = True
    return int((price.total_price * 1_000_000).to_integral_value(ROUND_CEILING))

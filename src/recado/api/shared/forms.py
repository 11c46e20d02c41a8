"""What the forms of several nouns are made of."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ModelWrapValidatorHandler, model_validator

from recado.channels.twilio.addresses import given_address
from recado.channels.twilio.sids import canonical_sid
from recado.text import INVISIBLE_CLASS, all_storable

#: A text that PostgreSQL can store, and one of which something is seen.
NO_NUL = r"^[^\x00]*$"
NOT_BLANK = rf"^[^\x00]*[^\s\x00-\x1f\x7f-\x9f{INVISIBLE_CLASS}][^\x00]*$"
#: In front of an address' or SID's pattern: other ways to write the same are taken, and become it.
CANONICAL = BeforeValidator(lambda given: given_address(given) if isinstance(given, str) else given)
SID = BeforeValidator(lambda given: canonical_sid(given) if isinstance(given, str) else given)
Language = Literal["pt", "es", "en"]


class Given(BaseModel):
    """What a caller gives; a field that there is not is refused."""

    model_config = ConfigDict(extra="forbid", strict=False)

    @model_validator(mode="wrap")
    @classmethod
    def _can_be_stored(cls, given: Any, validated: ModelWrapValidatorHandler[Self]) -> Self:
        """Refuse what no database takes in whichever field, so that none has to say so of itself.

        What a field says of itself is said first: it names the field.
        """
        made = validated(given)
        try:
            refused = all_storable(given) != given
        except RecursionError:
            refused = True
        if refused:
            raise ValueError("holds NUL or half of a surrogate pair, or is nested too deep")
        return made

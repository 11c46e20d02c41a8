"""Settings: environment variables with the prefix `RECADO_`, read once at the start, `.env` included.

A wrong value stops the start with the variable's name and what is allowed. `docs/reference/settings.md` lists every
field of `Settings`; a test holds the two together. A secret may be `file:/path`: what stands in that file at the start.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from recado import secretfiles
from recado.clock import zone_of
from recado.errors import SettingsError
from recado.urls import canonical_base

PREFIX = "RECADO_"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: What `RECADO_LIMITS` can limit: the caller's address, a Twilio account's messages, a contact's messages.
LIMITED = ("ip", "account", "contact")
_UNITS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many in a window of so many seconds."""

    amount: int
    window_s: int


class Settings(BaseSettings):
    """What one process of recado was told; immutable, secrets hidden in its repr."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    database_url: SecretStr | None = Field(
        None, description="PostgreSQL 15+ to work on. Not set: the embedded PostgreSQL under RECADO_HOME."
    )
    platform_url: SecretStr | None = Field(
        None,
        description="How what goes across owners connects: command line, sign-ins, recovery, the workflow engine. Not "
        "set: as RECADO_DATABASE_URL, which can then see every owner's rows.",
    )
    migrate_url: SecretStr | None = Field(
        None, description="How `recado migrate` connects, when the role of RECADO_DATABASE_URL may not change tables."
    )
    home: Path = Field(Path(".recado"), description="Folder of the embedded database, the media and the keys.")
    public_url: str | None = Field(
        None,
        description="What Twilio calls, for instance https://hooks.example.com; signatures are checked against it.",
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = Field(
        (),
        description="CIDRs, comma-separated, of proxies whose X-Forwarded-For counts, and whose other X-Forwarded-* "
        "headers count when RECADO_PUBLIC_URL is not set.",
    )
    model: str | None = Field(
        None, description="Model of assistants that name none, for instance openai:gpt-5-mini. Not set: no model."
    )
    model_timeout_s: float = Field(
        60.0, gt=0, le=600, description="Time one run of a model may take, retries included."
    )
    twilio_api_url: str | None = Field(
        None, description="Where the Twilio REST client goes instead of https://api.twilio.com: simulator, tests."
    )
    twilio_messaging_url: str | None = Field(
        None,
        description="Where typing indicators go, and senders are asked for, instead of https://messaging.twilio.com; "
        "RECADO_TWILIO_API_URL if set.",
    )
    twilio_content_url: str | None = Field(
        None,
        description="Where buttons, lists and templates are made and looked up instead of https://content.twilio.com; "
        "RECADO_TWILIO_API_URL if set.",
    )
    secret_keys: SecretStr | None = Field(
        None,
        description="Keys that encrypt stored secrets, 32 bytes in URL-safe base64, comma-separated, or file:/path "
        "with one on each line: the first encrypts, all decrypt. Not set: made once in RECADO_HOME.",
    )
    quiet_window_ms: int = Field(
        1200, ge=0, le=60_000, description="How long a contact must be silent before a turn starts, from arrival."
    )
    rate_limit_storage: SecretStr = Field(
        SecretStr("memory://"),
        description="Where limits are counted: memory:// in each process by itself, redis:// or rediss:// for all "
        "processes together.",
    )
    limits: str = Field(
        "ip=600/minute;account=6000/minute;contact=30/minute",
        description="Failed calls of one address, messages of one Twilio account and of one contact in a window of "
        "time; what is left out has no limit, off limits nothing.",
    )
    turns_per_hour: int = Field(
        60,
        ge=0,
        le=1000,
        description="Turns that answer in one conversation within an hour before it goes to people; 0 for no bound.",
    )
    split_chars: int = Field(1500, ge=20, le=1600, description="Longest part of an answer, in UTF-16 code units.")
    turns_at_once: int = Field(
        256, ge=1, le=2000, description="Turns that one worker process has in work at once; one owner alone about half."
    )
    deliveries_at_once: int = Field(
        128, ge=1, le=2000, description="Deliveries that one worker has in work at once; one owner alone about half."
    )
    media_url: str | None = Field(
        None,
        description="Where attachments are kept: s3://bucket/prefix, with the AWS_* variables for the rest. Not set: "
        "the folder media in RECADO_HOME.",
    )
    media_max_mb: int = Field(
        16, ge=1, le=100, description="Largest attachment that is fetched or uploaded, in MB; Twilio's own limit is 16."
    )
    media_at_once: int = Field(
        16,
        ge=1,
        le=500,
        description="Messages whose attachments one worker process fetches at once, besides voice notes.",
    )
    webhook_networks: Annotated[tuple[Network, ...], NoDecode] = Field(
        (),
        description="CIDRs, comma-separated, that owners' webhooks may lead to although they are not of the public "
        "internet. With 127.0.0.0/8 among them http:// to this machine is allowed too, for development.",
    )
    transcriber: str = Field(
        "none",
        description="What makes text of voice notes: faster-whisper:MODEL_OR_FOLDER on this machine, openai:MODEL at "
        "an OpenAI-compatible endpoint, or none.",
    )
    transcriber_threads: int = Field(2, ge=1, le=64, description="Threads that faster-whisper counts with.")
    longest_note_s: float = Field(
        300.0, gt=0, le=3600, description="Longest voice note that is transcribed; of a longer one the contact is told."
    )
    time_zone: str = Field(
        "UTC", description="Time zone of jobs that run at a time of day, for instance America/Sao_Paulo."
    )
    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="Port of the metrics, at /metrics; 0 takes a free one. Not set: no metrics."
    )
    metrics_host: str = Field(
        "127.0.0.1", description="Address that the metrics listen on, an internal one: nobody is asked for a password."
    )
    log_format: Literal["json", "console"] = Field("json", description="How log lines look.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="The least that is logged.")

    @classmethod
    def in_files(cls) -> frozenset[str]:
        """The fields whose value may be `file:/path`, read once at the start: all secrets.

        Not the encryption keys: their file is looked at again while the process runs (`db/secrets.py`).
        """
        fields = cls.model_fields.items()
        secret = {name for name, field in fields if SecretStr in (field.annotation, *get_args(field.annotation))}
        return frozenset(secret - {"secret_keys"})

    @field_validator("*", mode="before")
    @classmethod
    def _as_it_is_meant(cls, value: Any, info: ValidationInfo) -> Any:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not isinstance(text, str):
            return value
        text = text.strip()
        if text.startswith(secretfiles.SCHEME) and info.field_name in cls.in_files():
            text = secretfiles.read(text.removeprefix(secretfiles.SCHEME))
            if not text:  # nothing is never what a secret's file is meant to say
                raise ValueError("the file is empty")
        return SecretStr(text) if isinstance(value, SecretStr) else text

    @field_validator("database_url", "platform_url", "migrate_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and urlsplit(value.get_secret_value()).scheme not in ("postgresql", "postgres"):
            raise ValueError("must start with postgresql://")
        return value

    @field_validator("metrics_port", mode="before")
    @classmethod
    def _or_none(cls, value: Any) -> Any:
        return None if value == "" else value

    @field_validator("metrics_host")
    @classmethod
    def _is_address(cls, value: str) -> str:
        try:
            ipaddress.ip_address(value)
        except ValueError:  # its text would show the value
            raise ValueError("must be an IP address, for instance 127.0.0.1, or 0.0.0.0 in a container") from None
        return value

    @field_validator("public_url", "twilio_api_url", "twilio_messaging_url", "twilio_content_url")
    @classmethod
    def _is_http(cls, value: str | None) -> str | None:
        if value is None or value == "":
            return None
        return canonical_base(value)

    @field_validator("media_url")
    @classmethod
    def _is_bucket(cls, value: str | None) -> str | None:
        if value is None or value == "":
            return None
        if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9][A-Za-z0-9._-]*)*/?", value):
            raise ValueError("must be s3://bucket or s3://bucket/prefix, without credentials or query")
        return value.rstrip("/")

    @field_validator("time_zone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        zone_of(value)
        return value

    @field_validator("transcriber")
    @classmethod
    def _is_transcriber(cls, value: str) -> str:
        name, _, model = value.partition(":")
        if value != "none" and (name not in ("faster-whisper", "openai") or not model):
            raise ValueError("must be faster-whisper:MODEL_OR_FOLDER, openai:MODEL, or none")
        return value

    @field_validator("rate_limit_storage")
    @classmethod
    def _is_storage(cls, value: SecretStr) -> SecretStr:
        parts = urlsplit(value.get_secret_value())
        if parts.scheme != "memory" and (parts.scheme not in ("redis", "rediss") or not parts.hostname):
            raise ValueError("must be memory://, or redis://host:port/0, or the same with rediss://")
        return value

    @field_validator("limits")
    @classmethod
    def _are_limits(cls, value: str) -> str:
        limits_of(value)
        return value

    @field_validator("trusted_proxies", "webhook_networks", mode="before")
    @classmethod
    def _networks(cls, value: Any) -> Any:
        if isinstance(value, str):
            try:
                return tuple(
                    ipaddress.ip_network(item.strip(), strict=False) for item in value.split(",") if item.strip()
                )
            except ValueError:  # its text would show the value
                raise ValueError("must be CIDRs separated by commas, for instance 10.0.0.0/8,192.0.2.7") from None
        return value


def limits_of(text: str) -> dict[str, Rate]:
    """What a value of `RECADO_LIMITS` says: the limit of each thing that has one, empty when it is off.

    Raises ValueError that says what is allowed.
    """
    found: dict[str, Rate] = {}
    items = [item.strip() for item in text.split(";") if item.strip()]
    if items in (["off"], ["OFF"]):
        return found
    for item in items:
        name, _, rate = (part.strip() for part in item.partition("="))
        parsed = re.fullmatch(r"([1-9][0-9]{0,8})/(?:([1-9][0-9]{0,2}) )?(second|minute|hour|day)s?", rate)
        if parsed is None or name not in LIMITED or name in found:
            break
        found[name] = Rate(amount=int(parsed[1]), window_s=int(parsed[2] or 1) * _UNITS_S[parsed[3]])
    else:
        if found:
            return found
    raise ValueError("must be off, or limits as in ip=600/minute;account=6000/minute;contact=30/minute")


def load(**overrides: Any) -> Settings:
    """The settings of this process; arguments win over the environment.

    Raises SettingsError with the variable's name and what is allowed, never with the value.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_url=False, include_input=False, include_context=False):
            name = PREFIX + "_".join(str(part) for part in problem["loc"][:1]).upper()
            lines.append(f"{name}: {problem['msg'].removeprefix('Value error, ')}")
        raise SettingsError("; ".join(lines)) from None

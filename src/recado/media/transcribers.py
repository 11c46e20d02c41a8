"""Which transcriber there is: the one that RECADO_TRANSCRIBER names."""

from __future__ import annotations

from recado.errors import SettingsError
from recado.media.transcription import Transcriber
from recado.settings import Settings


def open_transcriber(settings: Settings) -> Transcriber | None:
    """The transcriber of RECADO_TRANSCRIBER, None for none.

    Raises SettingsError when its package is not installed or its key is missing.
    """
    name, _, model = settings.transcriber.partition(":")
    longest_s = settings.longest_note_s
    try:
        if name == "faster-whisper":
            from recado.media.voice.whisper import Whisper, check

            check()
            return Whisper(model, threads=settings.transcriber_threads, longest_s=longest_s)
        if name == "openai":
            from recado.media.voice.endpoint import open_endpoint

            return open_endpoint(model, longest_s=longest_s)
    except ImportError as error:
        extra = "voice" if name == "faster-whisper" else "models"
        raise SettingsError(f"RECADO_TRANSCRIBER: {error.name} is missing; install recado[{extra}]") from None
    return None

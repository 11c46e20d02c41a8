"""Names of files that strangers choose, as they may be shown, saved and sent: the ending follows what the file is.

Pure. People and their systems go by the ending: `fatura.pdf.hta` that is a text is named as one, and no character turns
the direction of what follows, so that `fatura\u202efdp.exe` would read `fatura.exe.pdf` backwards.
"""

from __future__ import annotations

import re
from typing import Final

from recado.channels.visible import visible

#: Endings that a file of this type may have, the usual one first. A type that is not listed has none.
_ENDINGS: Final[dict[str, tuple[str, ...]]] = {
    "application/msword": ("doc",),
    "application/pdf": ("pdf",),
    "application/vnd.ms-excel": ("xls",),
    "application/vnd.ms-powerpoint": ("ppt",),
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ("pptx",),
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ("xlsx",),
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ("docx",),
    "audio/3gpp": ("3gp",),
    "audio/aac": ("aac",),
    "audio/amr": ("amr",),
    "audio/mp4": ("m4a", "mp4"),
    "audio/mpeg": ("mp3",),
    "audio/ogg": ("ogg", "oga", "opus"),
    "image/jpeg": ("jpg", "jpeg"),
    "image/png": ("png",),
    "image/webp": ("webp",),
    "text/csv": ("csv", "txt"),
    "text/plain": ("txt", "csv", "log", "md"),
    "text/vcard": ("vcf",),
    "video/3gpp": ("3gp",),
    "video/mp4": ("mp4", "m4v"),
}
CHARS: Final = 128
BYTES: Final = 200
#: What separates folders, streams and arguments somewhere.
_RESERVED: Final = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
#: Devices, whatever their ending (https://learn.microsoft.com/windows/win32/fileio/naming-a-file).
_DEVICES: Final = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)", re.IGNORECASE)
#: An ending has a letter: the one of "Tabela 3.5" is none.
_ENDING: Final = re.compile(r"(?=[0-9]*[^\W\d_])[^\W_]{1,16}")


def file_name(given: str | None, content_type: str | None) -> str | None:
    """The name as it may be shown and saved under, with an ending of the file's type; None where nothing is left of it.

    Without a type, as of a file that was not kept, an ending is no ending any more.
    """
    # What is invisible goes first: it may stand between what is looked for here.
    text = visible(given or "", at_most=4 * CHARS)
    text = _RESERVED.sub("_", (text or "").replace("\\", "/").rpartition("/")[2]).strip(". ")
    if not text:
        return None
    stem, dot, ending = text.rpartition(".")
    fitting = _ENDINGS.get((content_type or "").partition(";")[0].strip().lower(), ())
    if not dot or not stem.strip(". "):
        stem, ending = text, ""
    elif ending.lower() not in fitting:
        stem, ending = (stem if _ENDING.fullmatch(ending) else text), ""
    if not fitting:
        # Nothing is left that a system would go by.
        stem = text.replace(".", "_")
    stem = stem.strip(". ")
    if _DEVICES.fullmatch(stem.partition(".")[0].strip()):
        stem = f"_{stem}"
    end = f".{ending or fitting[0]}" if fitting else ""
    stem = stem[: CHARS - len(end)].encode("utf-8", "ignore")[: BYTES - len(end)].decode("utf-8", "ignore").strip(". ")
    return stem + end

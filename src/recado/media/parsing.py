"""The process in which the files of strangers are parsed: `python -m recado.media.parsing HOW PATH`.

It prints one JSON object, `{"text": ..., "pages": ...}`, and gives up its rights before it loads a parser. When it is
killed, by its limits or anything else, there is no text. Only `recado.media.text` starts it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from recado.media import cards
from recado.media.text import MOST_CHARS, tidy

#: After so much CPU it gives what it has; at twice that the kernel ends it.
CPU_S = 5
MEMORY_BYTES = 256 * 1024 * 1024
#: What a zip may say that it holds.
UNPACKED_BYTES = 64 * 1024 * 1024
MEMBERS = 4_000

PAGES = 60
ROWS = 2_000

Found = tuple[str | None, int | None]


def main(how: str, path: Path) -> None:
    """Print what the file says; exit code 1 when nothing can be read from it."""
    give_up_rights()
    try:
        text, pages = _HOW[how](path)
    except BaseException as error:  # whatever a parser makes of a hostile file, a panic of native code too
        sys.exit(f"{type(error).__name__}")
    print(json.dumps({"text": text, "pages": pages}))


def give_up_rights(*, cpu_s: int = 2 * CPU_S) -> None:
    """Be nice, and end rather than take more CPU or memory than that, or write a file."""
    os.nice(5)
    for limit, value in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_DATA, MEMORY_BYTES),
        (resource.RLIMIT_AS, 4 * MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, most = resource.getrlimit(limit)
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        try:
            resource.setrlimit(limit, (value, value))
        except (OSError, ValueError):  # not every system knows every limit; the time-out of our parent is left
            continue


def _gathered(lines: Iterable[str]) -> str | None:
    """The lines, as many as there is room and time for."""
    kept: list[str] = []
    room = MOST_CHARS
    for line in lines:
        kept.append(line[:room])
        room -= len(line)
        if room <= 0 or time.process_time() > CPU_S:
            break
    return tidy("\n".join(kept)) or None


def _pdf(path: Path) -> Found:
    from pypdf import PdfReader

    reader = PdfReader(path, strict=False)
    if reader.is_encrypted and not reader.decrypt(""):
        return None, None
    count = reader.get_num_pages()
    return _gathered(reader.pages[index].extract_text() for index in range(min(count, PAGES))), count


def _office(path: Path) -> Found:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MEMBERS or sum(member.file_size for member in members) > UNPACKED_BYTES:
            raise ValueError("it unpacks to too much")
        names = {member.filename for member in members}
        kind = archive.read("mimetype")[:80].decode("ascii", "replace") if "mimetype" in names else ""
    if "word/document.xml" in names:
        return _gathered(_word(path)), None
    if "ppt/presentation.xml" in names:
        return _slides(path)
    if "xl/workbook.xml" in names or "xl/workbook.bin" in names or kind.endswith("opendocument.spreadsheet"):
        return _sheets(path)
    if ".opendocument." in kind:
        import odfdo

        return _gathered(odfdo.Document(path).get_formatted_text().splitlines()), None
    return None, None


def _word(path: Path) -> Iterator[str]:
    import docx
    from docx.table import Table

    for block in docx.Document(str(path)).iter_inner_content():
        if isinstance(block, Table):
            yield from (_row(cell.text for cell in row.cells) for row in block.rows)
        else:
            yield block.text


def _slides(path: Path) -> Found:
    import pptx

    slides = pptx.Presentation(str(path)).slides

    def texts(shapes: Any) -> Iterator[str]:
        for shape in shapes:
            if shape.has_text_frame:
                yield shape.text_frame.text
            elif getattr(shape, "has_table", False):
                yield from (_row(cell.text for cell in row.cells) for row in shape.table.rows)
            elif hasattr(shape, "shapes"):
                yield from texts(shape.shapes)

    return _gathered(text for slide in islice(slides, PAGES) for text in (*texts(slide.shapes), "")), len(slides)


def _sheets(path: Path) -> Found:
    from python_calamine import CalamineWorkbook

    def rows() -> Iterator[str]:
        with CalamineWorkbook.from_path(path) as book:
            for name in book.sheet_names:
                yield f"{name}:"
                yield from (_row(map(str, row)) for row in islice(book.get_sheet_by_name(name).iter_rows(), ROWS))
                yield ""

    return _gathered(rows()), None


def _row(cells: Iterable[str]) -> str:
    return " | ".join(" ".join(cell.split()) for cell in cells).strip(" |")


def _cards(path: Path) -> Found:
    with path.open("rb") as file:
        found = cards.read(file.read(cards.MOST_BYTES))
    return json.dumps(found, ensure_ascii=False) if found else None, None


_HOW: dict[str, Callable[[Path], Found]] = {"pdf": _pdf, "office": _office, "sheets": _sheets, "cards": _cards}

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

"""Documents as tests need them: small honest ones, and hostile ones."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import docx
import odfdo
import pptx
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

CARD = """BEGIN:VCARD
VERSION:3.0
N:Souza;Ana;;;
FN:Ana Souza
ORG:Padaria Central;
TEL;type=CELL;waid=5511987654321:+55 11 98765-4321
TEL;type=WORK:+55 11 3333-4444
EMAIL:ana@padaria.example
END:VCARD
"""


def pdf(path: Path, *pages: str, password: str | None = None) -> Path:
    """A PDF whose pages say that."""
    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for words in pages:
        page = writer.add_blank_page(width=300, height=300)
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
        )
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 20 200 Td ({words}) Tj ET".encode("latin-1"))
        page[NameObject("/Contents")] = writer._add_object(stream)
    if password is not None:
        writer.encrypt(password, algorithm="AES-256")
    writer.write(path)
    return path


def word(path: Path, *paragraphs: str) -> Path:
    made = docx.Document()
    for paragraph in paragraphs:
        made.add_paragraph(paragraph)
    table = made.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "Bolo", "R$ 40"
    made.save(str(path))
    return path


def endless_table(path: Path, *, rows: int, columns: int = 20) -> Path:
    """A Word document of a few KB whose table takes seconds of CPU and much memory to be read."""
    word(path, "x")
    row = "<w:tr>" + "<w:tc><w:p/></w:tc>" * columns + "</w:tr>"
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    with zipfile.ZipFile(path) as there:
        members = {name: there.read(name) for name in there.namelist()}
    table = f"<w:document xmlns:w='{space}'><w:body><w:tbl>{row * rows}</w:tbl></w:body></w:document>"
    return archive(path, members | {"word/document.xml": table})


def slides(path: Path, *titles: str) -> Path:
    made = pptx.Presentation()
    for title in titles:
        slide = made.slides.add_slide(made.slide_layouts[5])
        slide.shapes.title.text = title
    made.save(str(path))
    return path


def letter(path: Path, *paragraphs: str) -> Path:
    made = odfdo.Document("text")
    made.body.clear()
    for paragraph in paragraphs:
        made.body.append(odfdo.Paragraph(paragraph))
    made.save(path)
    return path


def sheet(path: Path, rows: list[list[str]]) -> Path:
    """A spreadsheet, by hand: the smallest that programs open."""
    cells = "".join(
        "<row>" + "".join(f'<c t="inlineStr"><is><t>{cell}</t></is></c>' for cell in row) + "</row>" for row in rows
    )
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    relations = "http://schemas.openxmlformats.org/package/2006/relationships"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    return archive(
        path,
        {
            "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
            "_rels/.rels": f'<Relationships xmlns="{relations}"><Relationship Id="rId1" Type="{office}/officeDocument" '
            'Target="xl/workbook.xml"/></Relationships>',
            "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
            '<sheet name="Preços" sheetId="1" r:id="rId1"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{relations}"><Relationship Id="rId1" '
            f'Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
            "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>',
        },
    )


def archive(path: Path, members: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return path


def lying_about_its_size(path: Path, member: str, content: bytes) -> Path:
    """A zip whose directory says that the member is one byte."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(member, content)
    data = bytearray(buffer.getvalue())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = (1).to_bytes(4, "little")
    path.write_bytes(data)
    return path

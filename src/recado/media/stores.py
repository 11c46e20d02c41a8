"""Which storage there is: the folder, or the bucket, that the settings name."""

from __future__ import annotations

from recado.media.folder import Folder
from recado.media.storage import Storage
from recado.settings import Settings


def open_storage(settings: Settings) -> Storage:
    """The storage of RECADO_MEDIA_URL, or the folder `media` in RECADO_HOME."""
    if settings.media_url is None:
        return Folder(settings.home / "media")
    from recado.media.bucket import open_bucket

    return open_bucket(settings.media_url)

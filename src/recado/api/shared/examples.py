"""What the description's examples name."""

from __future__ import annotations

from typing import Final

ID: Final = "01980c5e-6f3a-7c11-9f0b-2f4a8d1e5b77"
OTHER_ID: Final = "01980c5e-5a10-7d42-8c33-91d2f0a4c6e8"
EMAIL: Final = "ana@padaria.example"

from __future__ import annotations

from pathlib import Path

import pytest

from recado.media.voice.weights import base_model_folder


@pytest.fixture(scope="session")
def model(request: pytest.FixtureRequest) -> Path:
    """Whisper base, joined once and kept between runs."""
    assert request.config.cache is not None
    return base_model_folder(request.config.cache.mkdir("models"))

"""What may import what, and that nothing is imported which the project does not ask for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from supply.imports import FOLDERS, PROJECT, RUNTIME, idle, installed, undeclared
from supply.locks import ROOT
from tests.conftest import SECRET_KEYS

__all__ = ["MEDIA", "PROJECT", "ROOT", "RUNTIME", "installed"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_package_that_is_imported_is_declared(folder: str) -> None:
    assert undeclared(folder) == []


def test_every_dependency_earns_its_place() -> None:
    assert idle() == []


def test_the_import_contracts_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_a_process_that_only_takes_webhooks_loads_no_model_no_worker_and_no_simulator() -> None:
    loaded = _loaded_by("import recado.app, recado.cli.commands, recado.cli.run")
    assert "recado.journey.accept.accept" in loaded
    heavy = {"pydantic_ai", "openai", "dbos", "sqlalchemy", "alembic", "recado.simulator", "recado.worker"}
    assert loaded & heavy == set()


#: What decodes audio, counts models and reads strangers' files.
MEDIA = {
    *("av", "ctranslate2", "faster_whisper", "huggingface_hub", "numpy", "onnxruntime", "tinytag", "tokenizers"),
    *("PIL", "docx", "odfdo", "pptx", "pypdf", "python_calamine", "vobject"),
    *("openai", "pydantic_ai", "recado.worker", "recado.media.transcribers"),
}


@pytest.mark.parametrize("arguments", [["api", "--port", "0"]])
def test_a_running_api_has_loaded_no_audio_and_no_model_library(
    arguments: list[str], database_url: str, tmp_path: Path
) -> None:
    # The process tells of its own modules when it is told to stop, after it has answered.
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('LOADED', *sys.modules, sep='\\n', flush=True))\n"
        f"sys.argv[1:] = {arguments!r}\nfrom recado.cli import main\nmain()"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("RECADO_")} | {
        "RECADO_DATABASE_URL": database_url,
        "RECADO_SECRET_KEYS": SECRET_KEYS,
        "RECADO_HOME": str(tmp_path),
        "RECADO_TRANSCRIBER": "faster-whisper:base",
    }
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, text=True
    ) as api:
        assert api.stdout is not None
        assert api.stderr is not None
        port = next(json.loads(line)["port"] for line in api.stderr if '"listening"' in line)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            assert answer.status == 200
        with suppress(urllib.error.HTTPError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
            pass
        api.terminate()
        loaded = set(api.stdout.read().partition("LOADED")[2].split())
        api.stderr.read()
    assert "recado.journey.accept.accept" in loaded
    assert loaded & MEDIA == set()


def test_the_command_line_starts_without_loading_the_product() -> None:
    loaded = _loaded_by("import recado.cli.commands")
    heavy = {"fastapi", "uvicorn", "psycopg", "aiohttp", "dbos", "sqlalchemy", "recado.app", "recado.wiring"}
    assert loaded & heavy == set()

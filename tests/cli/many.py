"""Run many commands in one process, each as `recado` would: one JSON line in, one out. Starting Python costs most."""

from __future__ import annotations

import io
import json
import os
import sys
from typing import Any

from recado.cli import main


def run(asked: dict[str, Any]) -> dict[str, object]:
    """What the command wrote, and its exit code."""
    out, err = io.StringIO(), io.StringIO()
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = ["recado", *asked["arguments"]]
    sys.stdin = io.TextIOWrapper(io.BytesIO(asked["stdin"].encode("latin-1")))
    sys.stdout, sys.stderr = out, err
    code: object = None
    try:
        main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    return {"code": code or 0, "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    for line in sys.__stdin__ or ():
        print(json.dumps(run(json.loads(line))), flush=True)

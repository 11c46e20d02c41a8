"""Faults of the control API: put in force, listed, ended."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException, Response

from recado.simulator import faults as faulty
from recado.simulator import feed
from recado.simulator.engine import Engine
from recado.simulator.faults import ArmedFault, Fault
from recado.simulator.presets import PRESETS


def add_faults(router: APIRouter, engine: Engine) -> None:
    """Add the routes of faults."""

    @router.get("/faults")
    async def faults() -> dict[str, Any]:
        presets = [{"name": name, "title": preset.title, "says": preset.says} for name, preset in PRESETS.items()]
        return {"faults": [_fault(armed) for armed in engine.faults.armed], "presets": presets}

    @router.post("/faults", status_code=201)
    async def arm(body: Fault) -> dict[str, Any]:
        return _armed(engine, body)

    @router.post("/faults/{preset}", status_code=201)
    async def arm_preset(preset: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if preset not in PRESETS:
            raise HTTPException(404, f"no preset {preset}; there are {', '.join(PRESETS)}")
        try:
            fault = Fault.model_validate({"name": preset, **PRESETS[preset].fields, **(body or {})})
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        return _armed(engine, fault)

    @router.delete("/faults", status_code=204)
    async def clear() -> Response:
        engine.faults.armed.clear()
        _tell_faults(engine)
        return Response(status_code=204)

    @router.delete("/faults/{fault_id}", status_code=204)
    async def disarm(fault_id: str) -> Response:
        kept = [armed for armed in engine.faults.armed if armed.id != fault_id]
        if len(kept) == len(engine.faults.armed):
            raise HTTPException(404, f"no fault {fault_id}")
        engine.faults.armed[:] = kept
        _tell_faults(engine)
        return Response(status_code=204)


def _armed(engine: Engine, fault: Fault) -> dict[str, Any]:
    armed = faulty.arm(engine.faults, fault)
    _tell_faults(engine)
    return _fault(armed)


def _tell_faults(engine: Engine) -> None:
    feed.tell(engine.feed, {"type": "faults"})


def _fault(armed: ArmedFault) -> dict[str, Any]:
    shown = armed.fault.model_dump(by_alias=True, exclude_defaults=True)
    return {**shown, "id": armed.id, "hits": armed.hits, "spent": armed.spent}

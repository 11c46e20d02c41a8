"""The simulator as a process of a measurement."""

from __future__ import annotations

import sys

import uvloop

from recado.simulator.app import SimulatorSettings, serve

if __name__ == "__main__":
    # Measurements post webhooks themselves, so this Twilio never hears a contact open the window.
    uvloop.run(serve(SimulatorSettings(port=int(sys.argv[1]), keeps_window=False)))

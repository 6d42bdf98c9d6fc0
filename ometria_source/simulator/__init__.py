"""A simulated Ometria account, its HTTP API and its export files, for `--demo` and the tests. All data is invented.

account = SimulatedAccount.invent(profiles=300)
with SimulatedOmetria(account, behaviour=Behaviour(members_path="members")) as ometria:
    client = Client(ometria.base_url, ometria.api_key)
"""

from __future__ import annotations

from ometria_source.simulator.account import SimulatedAccount
from ometria_source.simulator.behaviour import Behaviour, Request
from ometria_source.simulator.export import write_events
from ometria_source.simulator.mailings import EVENT_COLUMNS
from ometria_source.simulator.server import SimulatedOmetria

__all__ = ["EVENT_COLUMNS", "Behaviour", "Request", "SimulatedAccount", "SimulatedOmetria", "write_events"]

"""A simulated Ometria account, for the demo and the tests. Everything in it is invented."""

from ometria_source.simulator.account import SimulatedAccount
from ometria_source.simulator.behaviour import Behaviour, Fault
from ometria_source.simulator.export import write_events
from ometria_source.simulator.server import Request, SimulatedOmetria

__all__ = ["Behaviour", "Fault", "Request", "SimulatedAccount", "SimulatedOmetria", "write_events"]

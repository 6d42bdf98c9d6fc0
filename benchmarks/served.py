"""A simulated account served by a process of its own, so that neither side's interpreter lock slows the other down."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from ometria_source.simulator import Behaviour, SimulatedAccount, SimulatedOmetria

# Which row is deleted each time: one of the first page, so that it lies before the current position of every reader.
DELETED_PLACE = 100


@dataclass(frozen=True)
class Arrival:
    """A request as it reached the server.

    Attributes:
        at: Seconds of the server's clock.
        status: As answered.
        offset: As asked for.
    """

    at: float
    status: int
    offset: int


@dataclass(frozen=True)
class Watched:
    """What the server saw while somebody read.

    Attributes:
        arrivals: Every request, in order of arrival.
        lasting: Ids of the rows that existed all the while, in the account's order.
        deletions: How many rows were deleted meanwhile.
    """

    arrivals: list[Arrival]
    lasting: list[str]
    deletions: int


class ServedAccount:
    """An invented account on loopback, for the length of a `with` block.

    Args:
        profiles: How many people to invent.
        behaviour: The server's knobs; `watch` can change them.

    Attributes:
        base_url: What to give to a client.
        api_key: The only key that is accepted.
    """

    def __init__(self, profiles: int, behaviour: Behaviour) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(other_end, profiles, behaviour), daemon=True)
        self._process.start()
        other_end.close()
        self.base_url: str
        self.api_key: str

    def __enter__(self) -> ServedAccount:
        self.base_url, self.api_key = self._pipe.recv()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join(timeout=10)
        self._process.terminate()

    def watch(self, behaviour: Behaviour, requests_per_deletion: int) -> None:
        """Begin to note what arrives, and to delete rows.

        Args:
            behaviour: The knobs from now on.
            requests_per_deletion: After each so many requests one row near the front is deleted.
        """
        self._call("watch", behaviour, requests_per_deletion)

    def watched(self) -> Watched:
        """Stop deleting, and say what was seen since `watch`."""
        found = self._call("watched")
        assert isinstance(found, Watched)  # noqa: S101  for the type checker
        return found

    def _call(self, name: str, *arguments: Any) -> Any:
        self._pipe.send((name, arguments))
        return self._pipe.recv()


class _Watcher:
    """The server's side of `ServedAccount.watch` and `watched`."""

    def __init__(self, account: SimulatedAccount, server: SimulatedOmetria) -> None:
        self._account = account
        self._server = server
        self._first = 0
        self._deletions = 0
        self._period = 0

    def watch(self, behaviour: Behaviour, requests_per_deletion: int) -> None:
        with self._account.lock:
            self._server.behaviour = behaviour
            self._first = len(self._server.requests)
            self._deletions = 0
            self._period += 1
            self._delete_after(requests_per_deletion, self._period)

    def _delete_after(self, requests: int, period: int) -> None:
        def delete() -> None:
            if period != self._period:
                return
            ids = self._account.profiles.ids()
            if len(ids) > DELETED_PLACE:
                self._account.erase_profile(ids[DELETED_PLACE])
                self._deletions += 1
            self._delete_after(requests, period)

        self._server.after_request(requests, delete)

    def watched(self) -> Watched:
        with self._account.lock:
            self._period += 1
            seen = self._server.requests[self._first :]
            arrivals = [Arrival(request.at, request.status, int(request.query["offset"])) for request in seen]
            # nobody joins: whoever is there now was there all the while
            return Watched(arrivals, list(self._account.profiles.ids()), self._deletions)


def _serve(pipe: Connection, profiles: int, behaviour: Behaviour) -> None:
    """Invent, listen, and do what the other process asks for until it closes its end."""
    account = SimulatedAccount.invent(profiles)
    # looking through a million objects for garbage would hold up every request that arrives meanwhile
    gc.collect()
    gc.freeze()
    with SimulatedOmetria(account, behaviour) as server:
        watcher = _Watcher(account, server)
        commands: dict[str, Callable[..., Any]] = {"watch": watcher.watch, "watched": watcher.watched}
        pipe.send((server.base_url, server.api_key))
        while True:
            try:
                name, arguments = pipe.recv()
            except EOFError:
                return
            pipe.send(commands[name](*arguments))

"""How much of the allowed rate a reader uses, and what it loses while the account changes under it.

Our reader (the scan behind the table `profiles`), a plain loop and dlt's stock paginator read the same simulated
account, which refuses whatever exceeds 4 requests in any second, at several latencies. After every 20th request a row
near the front is deleted, so that all later rows move up by one: a row that existed all the while and was not returned
is lost. The share of the allowed rate is requests a second between the first and the last arrival at the server, over
the requests that are allowed.

Exit status 1: our reader did not reach the end, or lost or doubled a row.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from contenders import CONTENDERS, LIMIT
from served import Arrival, ServedAccount, Watched

from ometria_source.simulator import Behaviour

OURS = "ometria_source"

# Ometria allows an account 4 requests a second (Ometria docs: Data API introduction).
ALLOWED = 4.0

# Seconds beyond the latency after which nothing of one reader is left on its way, nor in the server's window.
BREATHER = 1.5

HEADER = ("latency", "reader", "requests", "seconds", "share", "429s", "served", "ratio", "rows", "deleted", "lost", "")
FORMAT = "{:>7}  {:<20}  {:>8}  {:>7}  {:>7}  {:>4}  {:>7}  {:>6}  {:>7}  {:>7}  {:>4}  {}"


@dataclass(frozen=True)
class Reading:
    """What a reader did.

    Attributes:
        ids: Of the rows, as they came.
        ending: Why it did not read to the end; empty: it did.
        watched: What the server saw of it.
    """

    ids: list[str]
    ending: str
    watched: Watched

    @property
    def refused(self) -> int:
        """Answers with status 429."""
        return sum(arrival.status == 429 for arrival in self.watched.arrivals)

    @property
    def is_right(self) -> bool:
        """Whether it read to the end, lost nothing, and got no row twice."""
        return not (self.ending or self.lost) and len(set(self.ids)) == len(self.ids)

    @property
    def seconds(self) -> float:
        """From the first arrival to the last."""
        arrivals = self.watched.arrivals
        return arrivals[-1].at - arrivals[0].at if arrivals else 0.0

    @property
    def share(self) -> float:
        """Requests that arrived, over those that are allowed in the time."""
        return _rate(self.watched.arrivals) / ALLOWED

    @property
    def served_share(self) -> float:
        """The same of the requests that were answered with rows."""
        return _rate([arrival for arrival in self.watched.arrivals if arrival.status == 200]) / ALLOWED

    @property
    def lost(self) -> int:
        """Rows that existed all the while, in front of the place that was reached, and were not returned."""
        returned = set(self.ids)
        lasting = self.watched.lasting
        if self.ending:
            reached = max((place for place, key in enumerate(lasting) if key in returned), default=-1)
            lasting = lasting[: reached + 1]
        return sum(key not in returned for key in lasting)


def _rate(arrivals: list[Arrival]) -> float:
    span = arrivals[-1].at - arrivals[0].at if len(arrivals) > 1 else 0.0
    return (len(arrivals) - 1) / span if span else 0.0


def read(
    served: ServedAccount, reader: str, behaviour: Behaviour, requests_per_deletion: int, most_pages: int | None
) -> Reading:
    """Let a reader read, watched by the server.

    Args:
        served: The account.
        reader: Which one.
        behaviour: The server's knobs.
        requests_per_deletion: After each so many requests a row near the front is deleted.
        most_pages: Pages after which it is cut off; None: it reads to the end.

    Returns:
        What it did.
    """
    served.watch(behaviour, requests_per_deletion)
    ids: list[str] = []
    ending = ""
    pages = CONTENDERS[reader](served, ALLOWED)
    try:
        for number, page in enumerate(pages, start=1):
            ids.extend(str(row["id"]) for row in page)
            if number == most_pages:
                ending = f"cut off after {number} pages"
                break
    except Exception as error:  # noqa: BLE001  a reader that gives up has a result too
        ending = f"gave up: {type(error).__name__}"
    pages.close()
    time.sleep(behaviour.latency + BREATHER)
    return Reading(ids, ending, served.watched())


def row(latency: float, reader: str, reading: Reading, ours: Reading | None) -> str:
    """One line of the table; `ours` is what the ratio compares with."""
    ratio = f"{ours.served_share / reading.served_share:.2f}" if ours and reading.served_share else "-"
    return FORMAT.format(
        f"{latency:g} s",
        reader,
        len(reading.watched.arrivals),
        f"{reading.seconds:.1f}",
        f"{reading.share:.1%}",
        reading.refused,
        f"{reading.served_share:.1%}",
        ratio,
        len(reading.ids),
        reading.watched.deletions,
        reading.lost,
        reading.ending,
    ).rstrip()


def write_timeline(path: Path, readings: Iterable[tuple[float, str, Reading]]) -> None:
    """Write every arrival to a CSV file: what to look at when a share is low.

    Args:
        path: Of the file.
        readings: Latency, reader and reading.
    """
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("latency", "reader", "seconds", "gap", "status", "offset"))
        for latency, reader, reading in readings:
            arrivals = reading.watched.arrivals
            for before, arrival in zip([*arrivals[:1], *arrivals], arrivals, strict=False):
                seconds, gap = arrival.at - arrivals[0].at, arrival.at - before.at
                writer.writerow((latency, reader, f"{seconds:.4f}", f"{gap:.4f}", arrival.status, arrival.offset))


def options(arguments: list[str]) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--pages", type=int, default=800, help="pages of 250 that the account has (default 800)")
    parser.add_argument("--other-pages", type=int, default=80, help="pages that the others may read (default 80)")
    parser.add_argument("--latencies", default="0.05,0.3,1,3", help="seconds, separated by commas")
    parser.add_argument("--jitter", type=float, default=0.04, help="seconds that a request is late at most")
    parser.add_argument("--requests-per-deletion", type=int, default=20, help="default 20")
    parser.add_argument("--only-ours", action="store_true", help="leave the others out")
    parser.add_argument("--quick", action="store_true", help="about a minute: 60 pages, 25 for others, at 0.3 s")
    parser.add_argument("--timeline", type=Path, metavar="FILE", help="write every arrival to a CSV file")
    chosen = parser.parse_args(arguments)
    if chosen.quick:
        chosen.pages, chosen.other_pages, chosen.latencies = 60, 25, "0.3"
    return chosen


def main(arguments: list[str]) -> int:
    """Run the benchmark.

    Args:
        arguments: The flags.

    Returns:
        The exit status.
    """
    chosen = options(arguments)
    readers = [OURS] if chosen.only_ours else list(CONTENDERS)
    behaviour = Behaviour(requests_per_second=ALLOWED, jitter=chosen.jitter)
    readings: list[tuple[float, str, Reading]] = []
    # pages of ours overlap by a row
    people = chosen.pages * (LIMIT - 1)
    print(
        f"{people:,} invented profiles, at most {ALLOWED:g} requests in any second\n"
        f"{chosen.jitter * 1000:g} ms of jitter, one deletion per {chosen.requests_per_deletion} requests\n"
        "share: of the allowed rate; served: without refused requests; ratio: our served over theirs\n",
        flush=True,
    )
    with ServedAccount(people, behaviour) as served:
        print(FORMAT.format(*HEADER).rstrip(), flush=True)
        for latency in map(float, chosen.latencies.split(",")):
            knobs = Behaviour(requests_per_second=ALLOWED, jitter=chosen.jitter, latency=latency)
            ours = None
            for reader in readers:
                most = None if reader == OURS else chosen.other_pages
                reading = read(served, reader, knobs, chosen.requests_per_deletion, most)
                print(row(latency, reader, reading, ours), flush=True)
                readings.append((latency, reader, reading))
                ours = ours or reading
    if chosen.timeline:
        write_timeline(chosen.timeline, readings)
    of_ours = [reading for _, reader, reading in readings if reader == OURS]
    is_right = all(reading.is_right for reading in of_ours)
    refused = sum(reading.refused for reading in of_ours)
    print(f"\nours: {'nothing lost or doubled' if is_right else 'WRONG, see above'}, {refused} requests refused")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

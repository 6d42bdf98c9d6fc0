"""The tables that follow what vanishes, and an account that changes at random."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from conftest import Warehouse

from ometria_source.simulator import SimulatedAccount

TABLES = ("profiles", "lists", "member_lists")

# What a table has besides the account's own columns.
OUR_COLUMNS = ("row_version", "deleted_at")


@dataclass(frozen=True)
class Current:
    """A warehouse as if it held nothing but the rows that are there now."""

    warehouse: Warehouse

    def rows(self, table: str, dataset: str = "ometria") -> list[dict[str, Any]]:
        return [
            {column: value for column, value in row.items() if column not in OUR_COLUMNS}
            for row in self.warehouse.rows(table, dataset)
            if row.get("_dlt_valid_to") is None and row.get("deleted_at") is None
        ]


def change(account: SimulatedAccount, chance: random.Random) -> None:
    """Something happens in the account."""
    people, lists = list(account.profiles), list(account.lists)
    person = chance.choice(people) if people else account.add_profile()
    what = chance.randrange(9)
    if what == 0:
        account.add_profile(name=f"Newcomer {chance.random()}")
    elif what == 1:
        account.erase_profile(person)
    elif what == 2:
        account.delete_list(chance.choice(lists)) if len(lists) > 3 else account.add_list("Another")
    elif what == 3:
        account.empty_list(chance.choice(lists))
    elif what == 4:
        account.join(chance.choice(lists), person)
    elif what == 5:
        members = account.members[chance.choice(lists)]
        account.leave(chance.choice(lists), members[0]) if members else account.add_list("Empty")
    elif what == 6:
        account.update_profile(person, lifecycle_status=None, prefix=chance.choice([None, "Dr"]))
    else:
        account.update_profile(person, name=f"Renamed {chance.random()}", stats={"orders": chance.randrange(3)})

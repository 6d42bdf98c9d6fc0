"""What may change in a table's columns: dlt's schema contract, as a setting."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from dlt.common.schema.typing import TSchemaContractDict

from ometria_source.exceptions import InvalidSettingError

# dlt's words.
MODES = ("evolve", "freeze", "discard_row", "discard_value")
ENTITIES = ("tables", "columns", "data_type")


def read_contract(setting: object) -> TSchemaContractDict:
    """The contract of each table of the source.

    Args:
        setting: One of dlt's words for everything, or such words by `tables`, `columns` and `data_type`; that also as
            JSON text.

    Returns:
        A word for each of the three: dlt keeps the contract of a table with it, so what is not named must be lifted.

    Raises:
        InvalidSettingError: It is none of these.
    """
    words = setting
    if isinstance(words, str) and words.lstrip().startswith("{"):
        try:
            words = json.loads(words)
        except ValueError:
            words = None
    if isinstance(words, str):
        words = dict.fromkeys(ENTITIES, words)
    if (
        not isinstance(words, Mapping)
        or not words.keys() <= set(ENTITIES)
        or not all(word in MODES for word in words.values())
    ):
        raise InvalidSettingError(
            "schema_contract",
            f"must be one of {', '.join(MODES)}, or give such words to some of {', '.join(ENTITIES)}, as in "
            '{"columns": "freeze"}.',
        )
    contract: TSchemaContractDict = {"tables": "evolve", "columns": "evolve", "data_type": "evolve", **words}
    # the tables of this source are what is agreed on: frozen, dlt would refuse their first load
    contract["tables"] = "evolve"
    return contract


def keeping_rows(contract: TSchemaContractDict) -> TSchemaContractDict:
    """The contract of a table that mirrors the account: values are discarded, not rows.

    A complete scan removes the rows that it does not bring. So a field that is added to each of them would empty the
    table.

    Args:
        contract: As `read_contract` gave it.
    """
    kept = {entity: "discard_value" if word == "discard_row" else word for entity, word in contract.items()}
    return cast(TSchemaContractDict, kept)

"""Let dlt find out only once what a type hint is, how many fields a configuration has, and what is in a schema's file.

dlt asks this anew for each field of each configuration and schema, hundreds of thousands of times in a load of a few
rows, which is nothing beside a real load, and a third of the time of these tests. What a hint is does
not change, and a file has changed when its inode, size or time did. Programs that start cold ask as often as dlt likes.
"""

from __future__ import annotations

import functools
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlt.common import typing, validation
from dlt.common.configuration.container import Container
from dlt.common.configuration.providers.environ import EnvironProvider
from dlt.common.configuration.specs import base_configuration
from dlt.common.schema import Schema
from dlt.common.storages.live_schema_storage import LiveSchemaStorage

# Functions of nothing but their arguments, none of which returns anything that could be changed.
FUNCTIONS = [
    typing.extract_inner_type,
    typing.extract_type_if_modifier,
    typing.is_annotated,
    typing.is_any_type,
    typing.is_callable_type,
    typing.is_dict_generic_type,
    typing.is_generic_alias,
    typing.is_list_generic_type,
    typing.is_literal_type,
    typing.is_newtype_type,
    typing.is_optional_type,
    typing.is_set_generic_type,
    typing.is_subclass,
    typing.is_typeddict,
    typing.is_union_type,
    base_configuration.extract_inner_hint,
    base_configuration.get_config_if_union_hint,
    base_configuration.is_base_configuration_inner_hint,
    base_configuration.is_context_inner_hint,
    base_configuration.is_credentials_inner_hint,
    base_configuration.is_secret_hint,
    base_configuration.is_valid_hint,
]

# Some hints are made for one run. A guess.
MOST_HINTS = 50_000


def remember(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which works out its result once for the same objects; equal ones may be different hints."""
    known: dict[tuple[int, ...], tuple[Any, Any]] = {}

    @functools.wraps(function)
    def remembered(*arguments: Any, **options: Any) -> Any:
        key = tuple(map(id, (*arguments, *options, *options.values())))
        found = known.get(key)
        if found is None:
            if len(known) >= MOST_HINTS:
                known.clear()
            # as long as the objects are kept, no others have their ids
            found = known[key] = ((arguments, options), function(*arguments, **options))
        return found[1]

    return remembered


def install() -> None:
    """Put the functions that remember in the place of dlt's."""
    faster = {id(function): remember(function) for function in FUNCTIONS}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "dlt":
            for attribute, value in list(vars(module).items()):
                if id(value) in faster:
                    setattr(module, attribute, faster[id(value)])
    # returns a dictionary, which `validate_dict` only reads
    validation.get_type_hints = remember(validation.get_type_hints)
    # asked for wherever dlt writes `if configuration`
    base_configuration.BaseConfiguration.__len__ = lambda configuration: _number_of_fields(type(configuration))
    EnvironProvider.get_key_name = staticmethod(functools.lru_cache(MOST_HINTS)(EnvironProvider.get_key_name))
    Container._effective_thread_id = lambda _: _number_of_pool(threading.current_thread().name) or threading.get_ident()
    LiveSchemaStorage.__getitem__ = _read_once(LiveSchemaStorage.__getitem__)


@functools.lru_cache(MOST_HINTS)
def _number_of_pool(thread: str) -> int | None:
    """The number that dlt gives the pool of a thread; all of its threads see the same."""
    found = re.match(r"dlt-pool-(\d+)-", thread)
    return int(found[1]) if found else None


def _read_once(read: Callable[[LiveSchemaStorage, str], Schema]) -> Callable[[LiveSchemaStorage, str], Schema]:
    """As dlt's, which reads the file of a schema anew each time that it is asked for what it has in memory."""

    def schema(storage: LiveSchemaStorage, name: str) -> Schema:
        known: dict[str, object] = vars(storage).setdefault("files_read", {})
        file = _identity(storage, name)
        is_known = file is not None and known.get(name) == file and name in storage.live_schemas
        if is_known and storage.is_live_schema_committed(name):
            return storage.live_schemas[name]
        found = read(storage, name)
        known[name] = file
        return found

    return schema


def _identity(storage: LiveSchemaStorage, name: str) -> tuple[int, ...] | None:
    """What changes with the file of a schema; None: there is none, or more than this file counts."""
    if storage.config.import_schema_path:
        return None
    try:
        found = Path(storage.storage.make_full_path(storage._file_name_in_store(name, "json"))).stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


@functools.cache
def _number_of_fields(kind: type[base_configuration.BaseConfiguration]) -> int:
    return sum(map(base_configuration.is_valid_configspec_field, kind.__dataclass_fields__.values()))

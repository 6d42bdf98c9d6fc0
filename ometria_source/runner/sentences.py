"""From an exception to the one sentence that a user needs.

dlt wraps what a resource raises, and its own messages can hold rows. So the sentence is that of our own exception where
there is one at the bottom, and names no more than the type of any other.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from dlt.common.configuration.exceptions import (
    ConfigFieldMissingException,
    ConfigurationException,
    ConfigValueCannotBeCoercedException,
)
from dlt.common.exceptions import MissingDependencyException
from dlt.common.schema.exceptions import DataValidationError

from ometria_source.exceptions import (
    AccessDeniedError,
    MissingSettingError,
    NotFoundError,
    OmetriaError,
    SchemaContractError,
)

# Where dlt's exceptions keep what they were raised for, besides Python's own chain.
CAUSES = ("__cause__", "exception", "client_exception", "job_exception", "__context__")


def sentence(error: BaseException) -> str:
    """What a user should read about an error.

    Args:
        error: As it was caught.

    Returns:
        One paragraph without data of the account.
    """
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, OmetriaError):
            return str(link)
    if refusal := contract_refusal(error):
        return str(refusal)
    for link in chain:
        if isinstance(link, ConfigFieldMissingException):
            fields = ", ".join(f"`{name}`" for name in link.fields)
            return f"{link.spec_name} lacks {fields}. Set it in .dlt/secrets.toml or in the environment."
        if isinstance(link, ConfigValueCannotBeCoercedException):
            hint = " A date is written as 2024-01-31." if link.field_name.endswith("_date") else ""
            return (
                f"`{link.field_name}` has a value of the wrong type.{hint} Correct it in .dlt/config.toml or the "
                "environment."
            )
        if isinstance(link, MissingDependencyException):
            return f"A package is missing: run `pip install {' '.join(link.dependencies)}`."
        if isinstance(link, ConfigurationException):
            return (
                f"A setting cannot be read ({type(link).__name__}). Check .dlt/config.toml, .dlt/secrets.toml and the "
                "environment."
            )
    return f"Unexpected error ({type(chain[-1]).__name__}). Run again with --verbose to see where."


def not_offered(error: BaseException) -> OmetriaError | None:
    """The answer, or the lack of a setting, that says that a table is none of this account's; None: something else."""
    for link in _chain(error):
        if isinstance(link, NotFoundError | MissingSettingError):
            return link
        if isinstance(link, AccessDeniedError) and link.status == HTTPStatus.FORBIDDEN:
            return link
    return None


def is_refused(error: BaseException) -> bool:
    """Whether Ometria refused the key."""
    return any(isinstance(link, AccessDeniedError) for link in _chain(error))


def was_interrupted(error: BaseException) -> bool:
    """Whether it was the user, or an orchestrator, who ended what failed."""
    # a time-out of aiohttp's has a `CancelledError` in its chain
    return any(not isinstance(link, Exception | GeneratorExit | CancelledError) for link in _chain(error))


def contract_refusal(error: BaseException) -> SchemaContractError | None:
    """The refusal by `schema_contract` that led to an error, ours or dlt's; None: it was something else."""
    for link in _chain(error):
        if isinstance(link, SchemaContractError):
            return link
        if isinstance(link, DataValidationError):
            return SchemaContractError(link.table_name, link.column_name, link.schema_entity)
    return None


def pending_sentence(error: BaseException, pipeline_name: str) -> str:
    """What a user should read about a package that could not be normalised or loaded.

    Args:
        error: As it was caught.
        pipeline_name: The pipeline whose package it is.
    """
    table = next((name for link in _chain(error) if (name := _table(link))), None)
    *_, cause = _chain(error)
    what = f"The package with `{table}`" if table else "A package"
    return (
        f"{what} could not be loaded ({type(cause).__name__}) and is still pending: the next run tries it "
        f"again first. {way_out(pipeline_name)} Run with --verbose to see the cause."
    )


def way_out(pipeline_name: str) -> str:
    """How to discard a package that is pending."""
    return (
        "To discard it and the incremental state that came with it, run "
        f"`dlt -y pipeline {pipeline_name} abort-packages`; the run after that reads the same again."
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what caused it, the first cause last; dlt keeps some causes in attributes."""
    links: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        link = waiting.pop(0)
        if isinstance(link, BaseException) and link not in links:
            links.append(link)
            waiting += [getattr(link, name, None) for name in CAUSES]
    return iter(links)


def _table(error: BaseException) -> str | None:
    """The table of the job that failed; dlt names a job `<table>.<id>.<format>`."""
    job = getattr(error, "job_id", None)
    return job.split(".")[0] if isinstance(job, str) else None

"""`load`: one careful run. Finish what is pending, check the settings against what is loaded, load table by table.

Each table's package is extracted, normalised and loaded before the next table is read, so that at most one package is
pending: a package of dlt holds the state of the whole pipeline, and to abort it removes all newer ones.

A table that cannot be read, and a package that the destination refuses, keep no other table from loading. The refused
package is aborted with its state, so that the next run reads the same again. Where the destination does not answer, the
package stays pending, and no further table is read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import Any, Literal

import dlt
from dlt.common.configuration.container import Container
from dlt.common.configuration.exceptions import ConfigurationException
from dlt.common.exceptions import MissingDependencyException
from dlt.common.pipeline import PipelineContext
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.pipeline.exceptions import PipelineStepFailed

from ometria_source.exceptions import (
    ConfigurationError,
    DestinationError,
    MachineError,
    OmetriaError,
    PendingPackageError,
    RefusedKeyError,
    RefusedPackageError,
    TakenColumnError,
    UnappliedRuleError,
    UnexpectedError,
)
from ometria_source.loading import destinations
from ometria_source.loading.destinations import answers, file_format, kept_open
from ometria_source.loading.errors import (
    cause_of,
    contract_refusal,
    failed_table,
    interrupting_signal,
    machine_error,
    not_offered,
    redacted_process,
    refusal_status,
    user_error,
    was_interrupted,
    without_context,
)
from ometria_source.loading.loaded_settings import check_settings
from ometria_source.loading.packages import (
    cleaned_packages,
    columns_before,
    dropped_by,
    has_dropped,
    pending_packages,
    record_extracted,
    repair_packages,
    store_schemas,
    tables_of,
)
from ometria_source.loading.pipeline import (
    drop_inconsistent_state,
    held,
    open_pipeline,
    pipeline_folder,
    restore_from_destination,
)
from ometria_source.loading.plan import DEFAULT_DATASET, DEFAULT_DESTINATION, PIPELINE_NAME, Plan, make_plan
from ometria_source.loading.progress import Display, display
from ometria_source.loading.report import Contents, LateOptOuts, LoadReport, TableReport
from ometria_source.loading.shared_machine import check_settings_folder, telemetry_off_by_default
from ometria_source.loading.stored import inspect_tables, resource_states, settle
from ometria_source.privacy.consistency import applied_anywhere
from ometria_source.sync.metrics import BACKFILL, NOTES, REQUESTS, ROWS_READ
from ometria_source.tables import NESTED, PARENTS

log = logging.getLogger(__name__)

# Of these a package stays pending, and no further table is read.
UNAVAILABLE = (DestinationError, MachineError)

# How often a table is read in a run when other loads give its new columns to other fields meanwhile. Of ten loads that
# meet the same names at the same moment, the last one is read ten times. A guess.
READS = 10

APPENDED = "rows are added, not merged: those that are read again are doubled, and none is removed"


class LoadInterruptedError(KeyboardInterrupt):
    """The user, or an orchestrator, ended a load; what was loaded before stays.

    Attributes:
        report: What became of the load until then.
    """

    def __init__(self, report: LoadReport) -> None:
        self.report = report
        super().__init__(str(report.error))


def load(
    tables: Sequence[str] | str | None = None,
    *,
    destination: str = DEFAULT_DESTINATION,
    dataset: str = DEFAULT_DATASET,
    pipeline_name: str = PIPELINE_NAME,
    pipelines_dir: str | None = None,
    full_refresh: bool = False,
    append: bool = False,
    progress: Literal["log", "bar"] | None = None,
    **settings: Any,
) -> LoadReport:
    """Load an account: one careful run.

    It holds the pipeline's working folder, finishes what an earlier run has left pending, and then reads and loads one
    table after another. A table that fails keeps no other from loading, and the next run reads it again.

    Args:
        tables: Names of tables, or "all": each that the account offers and that is configured. None: those of the first
            five that are configured.
        destination: Name of a dlt destination.
        dataset: Name of the dataset (schema) to load into.
        pipeline_name: Name of the dlt pipeline, under which the state is kept.
        pipelines_dir: The folder of dlt's working folders; None: as dlt is configured.
        full_refresh: Read the tables anew and replace them; the old rows stay until the new ones are all read.
        append: Add rows instead of merging them; rows that are read again are doubled.
        progress: Show it on standard error, as lines or as bars; None: nothing is shown.
        **settings: Those of `ometria_source`; what is not given comes from dlt's configuration.

    Returns:
        What became of each table; the failure of a table is in it, not raised.

    Raises:
        OmetriaError: Something was wrong before anything was read: a setting, a table, what is configured, or another
            run on the same working folder.
        LoadInterruptedError: The load was interrupted.
    """
    check_settings_folder()
    try:
        plan = make_plan(tables, destination, full_refresh=full_refresh, append=append, settings=settings)
        folder = pipeline_folder(pipeline_name, pipelines_dir)
        report = LoadReport({name: TableReport(name) for name in plan.tables}, notes=list(plan.notes))
        report.pipeline, report.destination, report.dataset = pipeline_name, destination, dataset
        began = time.monotonic()
        with (
            held(folder),
            redacted_process(log, destinations.log),
            telemetry_off_by_default(),
            _other_pipeline_stays_active(),
        ):
            try:
                _Run(plan, report, display(progress)).run(folder, destination, dataset)
            except KeyboardInterrupt as interrupt:
                report.interrupted_by = interrupting_signal(interrupt)
        report.seconds, report.ended = time.monotonic() - began, datetime.now(timezone.utc)
    except (ConfigurationException, MissingDependencyException, OSError) as error:
        raise user_error(error) from None
    if report.is_interrupted:
        raise LoadInterruptedError(report)
    return report


@contextmanager
def _other_pipeline_stays_active() -> Iterator[None]:
    """Leave the pipeline active, or none, that was before."""
    context = Container()[PipelineContext]
    before: Any = context.pipeline() if context.is_active() else None
    try:
        yield
    finally:
        if context.is_active():
            context.deactivate()
        if before is not None:
            # its folder may be gone
            with suppress(OSError):
                before.activate()


class _Run:
    """One run of a plan, which keeps its report.

    Args:
        plan: What to do.
        report: With the tables of the plan.
        progress: Shows what the run is at.
    """

    def __init__(self, plan: Plan, report: LoadReport, progress: Display) -> None:
        self._plan = plan
        self._report = report
        self._progress = progress
        self._pipeline: dlt.Pipeline
        # the tables that are read anew and replaced
        self._anew: set[str] = set()
        self._changed: Mapping[str, OmetriaError] = {}
        # the tables of which an earlier run had left rows
        self._finished: set[str] = set()
        # the start of the first load of `unsubscribes`
        self._began: datetime | None = None

    def run(self, folder: Any, destination: str, dataset: str) -> None:
        """Load the tables.

        Raises:
            ConfigurationError: A setting does not go with what the destination holds. Nothing was read.
            KeyboardInterrupt: The run was interrupted.
        """
        is_open = False
        known: Mapping[str, TTableSchemaColumns] | None = None
        try:
            self._pipeline = open_pipeline(folder, destination, dataset)
            is_open = True
            self._report.destination = self._pipeline.destination.destination_name
            with cleaned_packages(self._pipeline):
                repair_packages(self._pipeline)
                drop_inconsistent_state(self._pipeline)
                store_schemas(self._pipeline)
                # the local schema has the columns that a pending package brings
                pending = pending_packages(self._pipeline)
                known = columns_before(pending[0]) if pending else None
                dropped = self._finish_pending()
                with kept_open(self._pipeline):
                    self._compare(dropped)
                known = _columns(self._pipeline) if known is None else known
                for table in self._report.tables.values():
                    self._load_table(table)
                    if self._report.cause is not None:
                        break
                else:
                    self._report.cause = _refusal_of_key(list(self._report.tables.values())) or self._unapplied_rule()
                with kept_open(self._pipeline):
                    if not isinstance(self._report.cause, UNAVAILABLE):
                        settle(self._pipeline)
                        self._count_rows()
        except (ConfigurationError, ConfigurationException, MissingDependencyException) as error:
            # nothing was read, but a package of an earlier run may have been loaded
            if not self._finished:
                raise
            self._report.cause = without_context(user_error(error))
        except Exception as error:
            # whatever it is: the report must have each table that was not loaded
            _pass_on_interrupt(error)
            log.info("the run failed", exc_info=error)
            own = user_error(error)
            if isinstance(own, UnexpectedError) and not (is_open and answers(self._pipeline)):
                own = DestinationError(destination, cause_of(error))
            self._report.cause = without_context(own)
        finally:
            if is_open and known is not None:
                self._note_columns(known)

    def _unapplied_rule(self) -> OmetriaError | None:
        """The error for a privacy rule for all tables that leads into one that was read, and found nothing in any."""
        read = {table.name for table in self._report.tables.values() if table.metrics.get(ROWS_READ)}
        columns = [columns for name, columns in _columns(self._pipeline).items() if PARENTS.get(name, name) in read]
        for rule in self._plan.privacy.applied_to_nothing(applied_anywhere(resource_states(self._pipeline))):
            if any(map(rule.leads_into, columns)):
                return UnappliedRuleError(rule.setting, rule.name, "The tables were loaded.")
        return None

    def _compare(self, dropped: Collection[str]) -> None:
        """Bring local state and destination together, and check the settings against both."""
        pipeline = self._pipeline
        # a newer package may be gone, of which nothing but the state is left
        drop_inconsistent_state(pipeline)
        pipeline.sync_destination()
        settle(pipeline, dropped)
        tables = self._plan.tables
        if self._plan.full_refresh:
            self._anew = set(tables)
        else:
            self._anew, self._changed = inspect_tables(pipeline, tables)
        if self._plan.is_backfill:
            # other workers may be loading the same table
            self._anew = set()
        check_settings(pipeline, self._plan, self._anew)
        # a full refresh forgets it
        began = resource_states(pipeline).get("unsubscribes", {}).get("start_date")
        self._began = datetime.fromisoformat(began) if began else None

    def _finish_pending(self) -> set[str]:
        """Load what an earlier run left; discard it where it is refused, or where its table is read anew now.

        Returns:
            The tables that these packages were to drop.
        """
        dropped: set[str] = set()
        while packages := pending_packages(self._pipeline):
            tables = tables_of(packages[0])
            self._finished |= tables
            # the package may be one whose abort was interrupted, which is finished as if it were loaded
            dropped |= dropped_by(packages[0])
            if self._plan.full_refresh and {PARENTS.get(name, name) for name in tables} & set(self._plan.tables):
                log.warning("A package of an earlier run is discarded: its table is read anew")
                self._abort()
                continue
            log.warning("A package of an earlier run is finished first")
            try:
                with self._progress.step("load of an earlier run"):
                    self._normalize_and_load()
            except PipelineStepFailed as error:
                _pass_on_interrupt(error)
                own = self._failure(error, ", ".join(sorted(tables)) or "an earlier run")
                if isinstance(own, UNAVAILABLE):
                    raise own from None
                self._report.notes.append(f"A package of an earlier run was discarded. {own}")
                self._abort()
            except TakenColumnError as error:
                self._report.notes.append(f"A package of an earlier run was discarded. {error}")
                restore_from_destination(self._pipeline)
        return dropped

    def _load_table(self, table: TableReport) -> None:
        """Read one table and load it, and keep in the report what became of it."""
        if table.name in self._changed:
            table.cause = self._changed[table.name]
            return
        began = time.monotonic()
        try:
            for _ in range(READS):
                self._read_and_load(table)
                if not isinstance(table.cause, TakenColumnError):
                    break
        finally:
            table.seconds = time.monotonic() - began

    def _read_and_load(self, table: TableReport) -> None:
        # a copy, without what an earlier reading has found
        selected = self._plan.source.with_resources(table.name)
        resource = selected.resources[table.name]
        resource.custom_metrics[NOTES] = []
        table.cause, table.notes = None, []
        try:
            with self._progress.step(table.name, resource.custom_metrics):
                if self._extract(selected, table):
                    late = self._late_opt_outs(table.name, resource.custom_metrics)
                    self._load_package(table)
                    if late and table.is_loaded:
                        late.note(table)
        finally:
            if resource.write_disposition == "append":
                table.notes.append(APPENDED)
            table.metrics = dict(resource.custom_metrics)
            table.notes = [*table.metrics.pop(NOTES, ()), *table.notes]

    def _late_opt_outs(self, table: str, metrics: Mapping[str, Any]) -> LateOptOuts | None:
        """Counts them where the run reads what earlier runs may have read."""
        if table != "unsubscribes" or not (table in self._anew or metrics.get(BACKFILL)):
            return None
        return LateOptOuts(self._pipeline, self._began)

    def _extract(self, selected: Any, table: TableReport) -> bool:
        """Extract one table into a package; whether that went well."""
        try:
            self._pipeline.extract(
                selected,
                loader_file_format=file_format(self._pipeline),
                refresh=self._refresh_mode(table.name),
            )
            record_extracted(self._pipeline)
        except PipelineStepFailed as error:
            _pass_on_interrupt(error)
            log.info("%s failed", table.name, exc_info=error)
            # what has given rows is offered, whatever came then
            has_rows = selected.resources[table.name].custom_metrics.get(ROWS_READ)
            missing = not_offered(error) if self._plan.offered_only and not has_rows else None
            table.refused = refusal_status(error)
            if missing:
                table.left_out = without_context(missing)
            else:
                table.cause = without_context(user_error(error))
            return False
        return True

    def _refresh_mode(self, table: str) -> Literal["drop_resources", "drop_data"] | None:
        """How dlt makes a table anew; one without rows is not dropped, because views may depend on it."""
        if table not in self._anew:
            return None
        return "drop_resources" if self._plan.full_refresh else "drop_data"

    def _load_package(self, table: TableReport) -> None:
        try:
            self._normalize_and_load()
        except PipelineStepFailed as error:
            _pass_on_interrupt(error)
            log.info("%s failed", table.name, exc_info=error)
            own = self._failure(error, table.name)
            if isinstance(own, UNAVAILABLE):
                self._report.cause = own
                return
            table.cause = own
            self._abort()
        except TakenColumnError as error:
            table.cause = error
            restore_from_destination(self._pipeline)
            # the table may have got rows of another load meanwhile
            if not self._plan.full_refresh:
                self._anew.discard(table.name)
        else:
            table.is_loaded = True

    def _failure(self, error: PipelineStepFailed, table: str) -> OmetriaError:
        """Why a package was not loaded: the contract, the destination, or that it does not answer."""
        if refusal := contract_refusal(error):
            return without_context(refusal)
        if error.step == "normalize":
            return without_context(user_error(error))
        if lack := machine_error(error):
            return lack
        if answers(self._pipeline):
            return RefusedPackageError(table, cause_of(error), failed_table(error))
        return DestinationError(self._pipeline.destination.destination_name, cause_of(error), table)

    def _normalize_and_load(self) -> None:
        self._pipeline.normalize()
        try:
            with kept_open(self._pipeline):
                self._report.load_ids += self._pipeline.load().loads_ids
        except (PipelineStepFailed, TakenColumnError):
            raise
        except Exception as error:
            # the tables are changed before dlt's own load
            raise PipelineStepFailed(self._pipeline, "load", "", error) from error

    def _abort(self) -> None:
        """Discard the packages that are pending, with their state: what was refused must block no later run."""
        pending = pending_packages(self._pipeline)
        dropped = {name for package in pending for name in dropped_by(package)}
        gone = {name for package in pending for name in has_dropped(package)}
        try:
            self._pipeline.abort_packages()
        except Exception as error:
            _pass_on_interrupt(error)
            log.info("the packages cannot be aborted", exc_info=error)
            raise PendingPackageError(self._pipeline.pipeline_name, cause_of(error)) from None
        settle(self._pipeline, dropped, gone)

    def _count_rows(self) -> None:
        contents = Contents(self._pipeline)
        for table in self._report.tables.values():
            table.rows, table.newest = contents.count_rows(table.name), contents.newest(table.name)
            table.nested = {
                name: contents.count_rows(name) for name in NESTED.get(table.name, ()) if not table.left_out
            }

    def _note_columns(self, known: Mapping[str, TTableSchemaColumns]) -> None:
        """Keep the columns that are new, whatever ended the run: no later run finds them new.

        Args:
            known: The columns of each table before.
        """
        columns = _columns(self._pipeline)
        noted: set[str] = set()
        for table in self._report.tables.values():
            for name in (table.name, *NESTED.get(table.name, ())):
                if table.is_loaded or table.name in self._finished:
                    noted.add(name)
                    _note_changes(table, name, known.get(name, {}), columns.get(name, {}))
        for name in sorted(self._finished - noted):
            finished = TableReport(name)
            _note_changes(finished, name, known.get(name, {}), columns.get(name, {}))
            self._report.notes += [f"`{name}`, of an earlier run: {note}" for note in finished.all_notes()]


def _refusal_of_key(tables: Sequence[TableReport]) -> OmetriaError | None:
    """The error where nothing but a refusal came back: then it is the key that is at fault, not what is offered."""
    asked = [table for table in tables if table.metrics.get(REQUESTS)]
    refused = [table for table in asked if table.refused]
    # of a single table, it may be that the account does not have it
    if len(refused) > 1 and all(table.refused or table.left_out for table in asked):
        return RefusedKeyError(refused[0].refused)
    return None


def _pass_on_interrupt(error: Exception) -> None:
    """Raise what dlt has wrapped: an interrupted run is over, and no table failed."""
    if was_interrupted(error):
        raise KeyboardInterrupt from error


def _columns(pipeline: dlt.Pipeline) -> dict[str, TTableSchemaColumns]:
    """The columns of each table."""
    if not pipeline.default_schema_name:
        return {}
    schema = pipeline.default_schema
    return {name: schema.get_table_columns(name) for name in schema.tables}


def _note_changes(table: TableReport, name: str, before: TTableSchemaColumns, after: TTableSchemaColumns) -> None:
    """Keep the columns that the run added to a table, or to one that comes with it."""
    within = "" if name == table.name else f"{name}."
    for column in sorted(after.keys() - before.keys()):
        if after[column].get("variant"):
            table.variants[f"{within}{column}"] = str(after[column]["data_type"])
        elif before:
            table.new_columns.append(f"{within}{column}")

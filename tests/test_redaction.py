"""What is left of an error's text: the kind of error, names and places, but no value. All values are invented."""

from __future__ import annotations

import logging

import pytest
from dlt.common import logger as dlt_logger
from dlt.pipeline import trace

from ometria_source.loading import run
from ometria_source.loading.errors import redacted, redacted_process, redacted_traceback

VALUE = "Ada O'Lovelace ada@shop.test"


@pytest.mark.parametrize(
    "message",
    [
        # DuckDB
        f"Conversion Error: Could not convert string '{VALUE}' to INT32 when casting from source column email_address",
        f'Constraint Error: Duplicate key "email: {VALUE}" violates primary key constraint.',
        # Postgres
        f'invalid input syntax for type integer: "{VALUE}"\nCONTEXT:  COPY profiles, line 1, column email: "{VALUE}"',
        f"duplicate key value violates unique constraint\nDETAIL:  Key (email)=({VALUE}) already exists.",
        f"null value violates not-null constraint\nDETAIL:  Failing row contains (7, \n{VALUE}, null).",
        f"invalid input syntax for type integer\nLINE 1: ...email) VALUES (E'{VALUE}', NULL)\n              ^",
        f"duplicate key value\nLINE 2: ({VALUE}",
        # SQL Server
        f"Conversion failed when converting the nvarchar value N'{VALUE}' to data type int.",
        f"Violation of constraint 'PK_a'. Cannot insert in 'dbo.a'. The duplicate key value is ({VALUE}, 7).",
        # statements as dlt writes them for both
        f"INSERT INTO profiles VALUES (E'{VALUE}', e'it\\'s'), (N'{VALUE}', N'{VALUE}')",
        f"duplicate key value\n  DETAIL:  Key (email)=({VALUE}) already exists.",
        f"doppelter Schlüsselwert\nDETAIL:  Schlüssel\nZEILE 1: ...({VALUE}",
        f"valeur dupliquée\nDÉTAIL : La clé (email)=({VALUE}) existe déjà.",
        # typed literals
        "syntax error in VALUES (JSON'Lovelace', rb'Lovelace', _utf8'Lovelace')",
        # DuckDB without quotes
        "Type INT64 with value Lovelace can't be cast because the value is out of range",
        "Could not cast value Lovelace to DECIMAL(5,2)",
        f"CSV Error on Line: 2\nOriginal Line: 7,{VALUE}\nExpected 3 columns",
        # Snowflake, BigQuery
        f"Numeric value '{VALUE}' is not recognized",
        f"Could not parse '{VALUE}' as INT64 for field email",
        # dlt
        f"In schema `ometria`: Cannot coerce type `text` to `bigint` for value `{VALUE}` in table `lists` column `a`",
        f"Cannot coerce value `{VALUE} `with` marks`",
        f"In schema `ometria`: contract violated. Offending data item: profile_id: 7, email: {VALUE}",
        # a statement that is quoted whole, and a value of several lines
        f"INSERT INTO profiles VALUES ('7', '{VALUE}'), ('8', 'it''s {VALUE}')",
        f"Could not convert string 'a\n    {VALUE}\nb' to INT32",
        # cut off before its end
        f"Could not convert string '{VALUE} and so on",
    ],
)
def test_a_value_that_a_message_quotes_is_hidden(message):
    rest = redacted(message)
    assert "Lovelace" not in rest
    assert "shop.test" not in rest
    assert rest[:10] == message[:10]


@pytest.mark.parametrize(
    ("message", "rest"),
    [
        ("no answer from ada@shop.test", "no answer from …"),
        (
            "GET https://api.shop.test/v2/profiles?email=ada&limit=3 failed",
            "GET https://api.shop.test/v2/profiles?… failed",
        ),
        ("Catalog Error: Table profiles does not exist!", None),
        ("Can't open the file; the user's disk is full", None),
        ("Job `unsubscribes.334cb9eb72.sql` failed terminally in load 1795515369.75136", None),
        ("@type is missing; what now?", None),
        ("key value is missing from the settings", None),
        ("ERROR: the users' table and the user's disk", None),
        ("", None),
    ],
)
def test_what_is_no_value_stays(message, rest):
    assert redacted(message) == (message if rest is None else rest)


def fail() -> None:
    try:
        int("ada@shop.test")
    except ValueError as error:
        raise RuntimeError("A row cannot be read: 'ada@shop.test'") from error


def test_a_traceback_keeps_every_place_in_the_code_and_no_value():
    with pytest.raises(RuntimeError) as caught:
        fail()

    text = redacted_traceback(caught.value)

    assert text.count(f'File "{__file__}", line ') == 3
    assert "ValueError: invalid literal for int() with base 10: '…'" in text
    assert "RuntimeError: A row cannot be read: '…'" in text
    # the source line is code, not data
    assert text.count("ada@shop.test") == 2
    assert redacted(text) == text


def test_what_dlt_logs_of_an_error_holds_no_value(caplog):
    logger = logging.getLogger("dlt")
    logger.addHandler(caplog.handler)
    try:
        with redacted_process(), redacted_process():
            try:
                raise ValueError("'ada@shop.test'")
            except ValueError:
                logger.exception("Job %s failed", "ada@shop.test")
    finally:
        logger.removeHandler(caplog.handler)

    assert "Job … failed" in caplog.text
    assert "ValueError: '…'" in caplog.text


def test_the_loggers_that_are_redacted_are_those_that_log_errors_of_others():
    """By object: a logger that is renamed is still the one."""
    loggers = [run.log, dlt_logger.LOGGER]
    before = [list(logger.filters) for logger in loggers], list(trace.TRACKING_MODULES)
    with redacted_process(run.log):
        for logger in loggers:
            record = logging.LogRecord(logger.name, logging.INFO, __file__, 1, "value `ada@shop.test`", None, None)
            assert logger.filter(record)
            assert "ada" not in record.getMessage()
        assert len(trace.TRACKING_MODULES) == len(before[1]) + 1
    assert ([list(logger.filters) for logger in loggers], trace.TRACKING_MODULES) == before

"""A run that is killed at any moment leaves nothing behind that a next run would not put right.

The program is a process of its own, killed by SIGKILL at a moment that a seed chooses, spread over all of its phases:
what a moment is, and how it is met again, is said in `killed_program`. The run that follows is the real program, in a
process of its own too. The account is served by the test's process.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dlt
import pytest
import truth
from machine import DLT, Machine

from ometria_source import ometria_source
from ometria_source.simulator import SimulatedAccount, SimulatedOmetria

pytestmark = pytest.mark.slow

PHASES = ("extract", "normalize", "load", "commit", "restore")

# Each phase is cut into so many stretches, of which each has a seed.
STRETCHES = 4

# The ways of reading that the seeds share; under the second, rows are removed by a later complete scan.
COMPLETE = {"SOURCES__OMETRIA__FULL_SCAN_DAYS": "0", "SOURCES__OMETRIA__MEMBER_LISTS_FROM": "auto"}
CHANGES = {"SOURCES__OMETRIA__FULL_SCAN_DAYS": "1", "SOURCES__OMETRIA__MEMBER_LISTS_FROM": "profiles"}


@pytest.fixture(scope="module")
def shared_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with SimulatedOmetria(SimulatedAccount()) as ometria:
        yield Machine(tmp_path_factory.mktemp("machine") / "current", ometria)


@pytest.fixture
def machine(shared_machine, workspace, monkeypatch) -> Machine:
    """A new machine, and the settings with which the program runs on it, in this process and in others.

    The fixture `workspace` leads this process back to its own folder afterwards.
    """
    shared_machine.become(None)
    settings = {
        **COMPLETE,
        "DLT_DATA_DIR": str(shared_machine.folder / "dlt"),
        "SOURCES__OMETRIA__API_KEY": shared_machine.ometria.api_key,
        "SOURCES__OMETRIA__BASE_URL": shared_machine.ometria.base_url,
        "SOURCES__OMETRIA__BUCKET_URL": (shared_machine.folder / "export").as_uri(),
        "WATCHED_FOLDERS": str(shared_machine.folder),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return shared_machine


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    """What is worked out once in this process."""
    return {}


@pytest.fixture
def loaded(machine, kept) -> Path:
    """A copy of a machine on which all was loaded once; the machine is like it."""
    if "loaded" not in kept:
        machine.load()
        kept["loaded"] = machine.copy("loaded")
    machine.become(kept["loaded"])
    return kept["loaded"]


@pytest.fixture
def count(machine, loaded, kept) -> Callable[..., dict[str, int]]:
    """How many moments each phase of a second run has, by its settings."""

    def count_moments(**settings: str) -> dict[str, int]:
        if (key := repr(settings)) not in kept:
            machine.change()
            kept[key] = machine.moments(**settings)
            machine.become(loaded)
        return kept[key]

    return count_moments


@pytest.mark.parametrize("seed", range(STRETCHES * len(PHASES)))
def test_after_a_run_that_was_killed_at_any_moment_a_next_run_equals_the_account(machine, count, load, seed):
    # Given a moment in one stretch of one phase, and another moment for every other seed
    stretch, place = divmod(seed, len(PHASES))
    phase, fate = PHASES[place], random.Random(seed)
    settings = CHANGES if fate.random() < 0.3 else COMPLETE
    moments = count(**settings)
    # the log that DuckDB writes is not as long each time
    reach = moments[phase] * (0.8 if phase == "commit" else 1.0)
    number = 1 + int(reach * (stretch + fate.random()) / STRETCHES)
    second_phase = fate.choice(("extract", "normalize", "load"))
    second_number = 1 + int(moments[second_phase] * fate.random() * 0.8)

    # When the account changes and a run is killed
    machine.change()
    if phase == "restore":
        shutil.rmtree(machine.folder / "dlt")
    machine.kill(phase, number, **settings)
    if seed % 2:
        machine.change()
        machine.kill(second_phase, second_number, **settings)

    # Then the next run loads what happened, and a complete one after it is equal too
    machine.load(**settings)
    truth.assert_unsubscribes(machine.warehouse, machine.account)
    truth.assert_events(machine.warehouse, machine.account)
    if settings == COMPLETE:
        truth.assert_equal(machine.warehouse, machine.account)
    load()
    truth.assert_equal(machine.warehouse, machine.account)


@pytest.mark.parametrize("seed", range(8))
def test_after_a_first_load_that_was_killed_at_any_moment_a_next_run_equals_the_account(machine, load, seed):
    # Given a moment of a first load, which has a few more in each phase than these
    moments = {"extract": 350, "normalize": 350, "load": 420, "commit": 1_000_000}
    phase = list(moments)[seed % len(moments)]

    # When it is killed then, and the account changes
    machine.kill(phase, random.Random(seed).randint(1, moments[phase]))
    machine.change()

    # Then the next run equals the account, and so does one after it
    machine.load()
    truth.assert_equal(machine.warehouse, machine.account)
    load()
    truth.assert_equal(machine.warehouse, machine.account)


# Five packages move when they were extracted, five when they were normalised, and five when they are loaded.
@pytest.mark.parametrize("packages_moved", [1, 4, 5, 6, 8, 10, 11, 15])
def test_a_first_load_that_was_killed_just_after_it_moved_a_package_is_finished(machine, load, packages_moved):
    machine.kill("moved", packages_moved)
    load()
    truth.assert_equal(machine.warehouse, machine.account)


def test_rows_that_a_killed_run_had_read_do_not_stay_on_the_disk(machine, loaded, load):
    machine.change()
    machine.kill("extract", 30)
    machine.kill("normalize", 20)
    load()
    assert [path.name for path in (machine.pipeline / "normalize").iterdir() if path.is_dir()] == ["extracted"]
    assert not list((machine.pipeline / "load" / "new").iterdir())


@pytest.mark.parametrize("part", [0.2, 0.4, 0.6, 0.8])
def test_a_switch_of_the_dataset_that_is_killed_loses_nothing_of_the_first(machine, loaded, kept, load, part):
    """The local state, which is ahead of the data here, must not outlive the packages that it describes."""
    # Given a run that was killed when it had extracted everything
    if "extracted" not in kept:
        machine.change()
        machine.kill("moved", 6)
        kept["extracted"] = machine.copy("extracted")
        kept["moments of a switch"] = machine.moments("--dataset", "elsewhere")["open"]
    machine.become(kept["extracted"])
    machine.change()

    # When a run that drops the local state for another dataset is killed as well
    machine.kill("open", int(kept["moments of a switch"] * part), "--dataset", "elsewhere")

    # Then the first dataset gets everything
    load()
    truth.assert_equal(machine.warehouse, machine.account)


# An abort after these two kills, of one package, has more than 41 moments.
@pytest.mark.parametrize("number", [3, 9, 15, 21, 25, 31, 37, 41])
@pytest.mark.parametrize(("phase", "moment"), [("load", 40), ("normalize", 20)])
def test_an_abort_of_packages_that_is_killed_loses_no_row(machine, loaded, load, phase, moment, number):
    """Packages go one after another: what is left must not bring the state of those that are gone."""
    machine.change()
    machine.kill(phase, moment)
    machine.kill("abort", number, "-y", "pipeline", "ometria_pipeline", "abort-packages", program=DLT)
    result = load()
    assert "NOT LOADED" not in result.out
    truth.assert_equal(machine.warehouse, machine.account)


@pytest.mark.parametrize("lost", ["new_jobs/profiles.*", "schema.json", ".restore", "load_package_state.json"])
def test_an_extracted_package_of_which_an_abort_left_only_a_part_is_read_again(machine, loaded, load, lost):
    machine.change()
    machine.kill("normalize", 3)
    oldest = min((machine.pipeline / "normalize" / "extracted").iterdir())
    (path,) = oldest.glob(lost)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert "does not follow" in load().err
    truth.assert_equal(machine.warehouse, machine.account)


def test_the_rows_of_a_newest_package_that_is_gone_are_read_again_though_an_older_one_is_there(machine, loaded, load):
    """As after a killed `load-package <newest> abort`: what is left follows from the data, the state does not."""
    machine.change()
    machine.kill("load", 3)
    # a run leaves one package; dlt's own way, as in a notebook, can add another
    pipeline = dlt.attach("ometria_pipeline")
    pipeline.extract(ometria_source().with_resources("unsubscribes"))
    pipeline.normalize()
    packages = sorted((machine.pipeline / "load" / "normalized").iterdir())
    shutil.rmtree(packages[-1])
    assert len(packages) > 1
    assert "is finished first" in load().err
    truth.assert_equal(machine.warehouse, machine.account)


def test_a_state_whose_packages_are_gone_is_not_trusted(machine, loaded, load):
    machine.change()
    machine.kill("load", 3)
    assert any((machine.pipeline / "load" / "normalized").iterdir())
    for folder in ("normalize", "load"):
        shutil.rmtree(machine.pipeline / folder)
    assert "does not follow" in load().err
    truth.assert_equal(machine.warehouse, machine.account)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"null", b"[]", b'{"_local": 7}', b'{"sources": {}}', b"\xff\xfe\x00", None]
)
def test_a_local_state_that_cannot_be_read_is_restored_from_the_destination(machine, loaded, load, text):
    machine.change()
    state = machine.pipeline / "state.json"
    whole = state.read_bytes()
    state.write_bytes(whole[: len(whole) // 2] if text is None else text)
    result = load()
    assert "local state" in result.err
    assert "known files not read again" in result.out
    truth.assert_equal(machine.warehouse, machine.account)


def test_a_schema_that_cannot_be_read_is_restored_from_the_destination(machine, loaded, load):
    machine.change()
    next(machine.pipeline.glob("schemas/*.json")).write_bytes(b"")
    load()
    truth.assert_equal(machine.warehouse, machine.account)


def test_what_packages_hold_beside_a_state_that_cannot_be_read_is_read_again(machine, loaded, load):
    machine.change()
    machine.kill("moved", 8)
    (machine.pipeline / "state.json").write_bytes(b"")
    load()
    truth.assert_equal(machine.warehouse, machine.account)

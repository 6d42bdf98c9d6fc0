"""`notebooks/explore.py` in a real browser: its pictures show what the account holds, and its controls work."""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pytest
from s3_servers import free_ports, listens, running

pytestmark = pytest.mark.slow

playwright = pytest.importorskip("playwright.sync_api", reason="pip install -e '.[dev]'")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "explore.py"

# Milliseconds for a page, whose kernel starts first, to show what it should.
PATIENCE = 60_000

ALL_TEXT = """() => {
  const text = node => {
    if (node.nodeType == Node.TEXT_NODE) return node.data
    if (['STYLE', 'SCRIPT'].includes(node.nodeName)) return ''
    return [...(node.shadowRoot ? node.shadowRoot.childNodes : []), ...node.childNodes].map(text).join(' ')
  }
  return text(document.body)
}"""


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        # in a container it is root, for whom Chromium has no sandbox
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser) -> Iterator[Page]:
    with browser.new_page(viewport={"width": 1100, "height": 4600}) as page:
        yield Page(page)


class Page:
    """The notebook's page as a person sees it.

    Attributes:
        page: Playwright's.
        troubles: Errors of the page, and requests that would leave this machine.
    """

    def __init__(self, page) -> None:
        self.page = page
        self.troubles: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("request", lambda request: self._note(request.url))

    def _note(self, url: str) -> None:
        if not re.match(r"(http|ws)://127\.0\.0\.1:|data:|blob:", url):
            self.troubles.append(url)

    def text(self) -> str:
        """All text, also of elements that keep their content to themselves."""
        return " ".join(self.page.evaluate(ALL_TEXT).split())

    def wait_for_chart(self, title: str):
        """A chart, once it is drawn; charts are known by their titles."""
        return self.page.locator("svg", has=self.page.get_by_text(title, exact=True)).first

    def marks(self, title: str, kind: str = "bar") -> list[dict[str, str]]:
        """What the marks of a chart say to whoever cannot see them, which Vega makes of what it draws."""
        chart = self.wait_for_chart(title)
        chart.wait_for()
        labels = chart.locator(f"[aria-roledescription='{kind}']").evaluate_all(
            "marks => marks.map(mark => mark.getAttribute('aria-label'))"
        )
        return [dict(part.split(": ", 1) for part in label.split("; ")) for label in labels]


@pytest.fixture
def served(tmp_path):
    """Serves the notebook as `marimo run` does; its address."""

    @contextmanager
    def serve(*arguments: str) -> Iterator[str]:
        (port,) = free_ports(1)
        command = [sys.executable, "-m", "marimo", "-y", "run", NOTEBOOK, "--headless", "--no-token", "--port", port]
        with running(list(map(str, [*command, "--", *arguments])), tmp_path, lambda: listens(port)):
            yield f"http://127.0.0.1:{port}"

    return serve


def bars(marks: list[dict[str, str]], name: str, value: str) -> dict[str, int]:
    return {mark[name]: int(mark[value].replace(",", "")) for mark in marks}


def test_the_pictures_show_what_the_account_holds(account, ometria, export, load, page, served):
    load()
    titles = {list_id: item["title"] for list_id, item in account.lists.items()}
    members = {list_id: set(people) for list_id, people in account.members.items()}
    with served() as address:
        page.page.goto(address)
        found = bars(page.marks("Members today"), "list", "members")
        assert found == {titles[list_id]: len(people) for list_id, people in members.items()}

        found = {
            (mark["list"], mark["also in"]): int(mark["people"])
            for mark in page.marks("Overlap: people who are in both", "rect mark")
        }
        assert found == {
            (titles[one], titles[other]): len(members[one] & members[other])
            for one, other in product(members, members)
            if members[one] & members[other]
        }

        growth = page.marks("Today's members by the month in which they were acquired, added up", "point")
        last = {mark["list"]: int(mark["members"]) for mark in growth}
        acquired = {row["id"] for row in account.profiles.values() if (row["dates"] or {}).get("acquired")}
        for list_id, people in members.items():
            assert max((int(mark["members"]) for mark in growth if mark["list"] == titles[list_id]), default=0) == len(
                people & acquired
            ), last

        assert bars(page.marks("E-mails of all campaigns"), "step", "e-mails") == funnel(account)
        consent = Counter(
            {True: "opted in", False: "opted out", None: "not known"}[row["marketing_optin"]]
            for row in account.profiles.values()
        )
        assert total(page.marks("Consent to marketing by lifecycle_status"), "consent") == consent
        reasons = Counter(row.get("reason") or "(none given)" for row in account.unsubscribes)
        assert bars(page.marks("By reason"), "reason", "unsubscribes") == reasons
        types = Counter(row["type"] for row in account.unsubscribes)
        found = Counter()
        for mark in page.marks("By month and by where they were made"):
            found[mark["type"]] += int(mark["unsubscribes"])
        assert found == types
        kinds = Counter(event["event_type"] for event in account.events)
        found = Counter()
        for mark in page.marks("Events by day", "point"):
            found[mark["kind"]] += int(mark["events"])
        assert found == kinds
        text = page.text()
        for number in (len(account.profiles), len(account.events), len(account.unsubscribes)):
            assert f"{number:,}" in text
        assert "@" not in text
        assert page.troubles == []


def funnel(account, campaign: str | None = None) -> dict[str, int]:
    steps = {"send": "sent", "open": "opened", "click": "clicked"}
    sends: dict[str, set[str]] = {step: set() for step in steps.values()}
    for event in account.events:
        if event["event_type"] in steps and campaign in (None, event["campaign_title"]):
            sends[steps[event["event_type"]]].add((event["campaign_title"], event["send_id"]))
    return {step: len(found) for step, found in sends.items()}


def total(marks: list[dict[str, str]], name: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for mark in marks:
        found[mark[name]] += int(mark["people"])
    return found


def test_the_controls_change_the_pictures(account, ometria, export, load, page, served):
    load()
    campaign = next(event["campaign_title"] for event in account.events if event["campaign_title"])
    with served() as address:
        page.page.goto(address)
        page.marks("E-mails of all campaigns")
        page.page.get_by_label("funnel of").select_option(campaign)
        assert bars(page.marks(f"E-mails of {campaign}"), "step", "e-mails") == funnel(account, campaign)
        page.page.get_by_label("by", exact=True).select_option("country")
        countries = Counter(row["country"] or "(not known)" for row in account.profiles.values())
        found: Counter[str] = Counter()
        for mark in page.marks("Consent to marketing by country"):
            found[mark["part"]] += int(mark["people"])
        assert found == countries
        assert page.troubles == []


def test_a_load_of_one_table_with_history_is_shown_too(account, ometria, load, page, served, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__HISTORY", '["profiles"]')
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")
    load("--tables", "profiles")
    for identifier in list(account.profiles)[:5]:
        account.update_profile(identifier, lifecycle_status="lead")
    account.erase_profile(list(account.profiles)[9])
    load("--tables", "profiles")
    with served("--pipeline", "ometria_pipeline") as address:
        page.page.goto(address)
        parts = Counter(row["lifecycle_status"] or "(not known)" for row in account.profiles.values())
        found: Counter[str] = Counter()
        for mark in page.marks("Consent to marketing by lifecycle_status"):
            found[mark["part"]] += int(mark["people"])
        assert found == parts
        text = page.text()
        for table in ("member_lists", "email_events", "unsubscribes"):
            assert f"{table} is not loaded" in text
        assert page.troubles == []


def test_where_nothing_was_loaded_a_sentence_says_what_to_do(page, served):
    with served() as address:
        page.page.goto(address)
        page.page.get_by_text("No load of").wait_for()
        assert "python pipelines/ometria_pipeline.py --demo" in page.text()


def test_an_export_of_other_words_and_dates_is_shown_as_far_as_it_is_understood(bucket, load, page, served):
    (bucket / "events.csv").write_text(
        "event_id,event_type,event_time,email,campaign_title,send_id\n"
        "1,bounce,31/12/2024 10:00,ada@shop.test,Spring,s1\n2,bounce,31/12/2024 11:00,bob@shop.test,Spring,s2\n"
    )
    load("--tables", "email_events")
    with served() as address:
        page.page.goto(address)
        page.page.get_by_text("No column that can be read as a time").wait_for()
        # nothing else that failed, and no column of addresses to choose
        text = page.text()
        assert "Error" not in text
        assert "@" not in text
        assert page.page.get_by_label("e-mail").locator("option").filter(has_text="email").count() == 0

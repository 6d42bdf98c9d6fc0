"""What is in a loaded Ometria account, as a page.

    pip install -e '.[notebook]'
    marimo run notebooks/explore.py

It reads the newest of the pipelines `ometria_pipeline` and `ometria_demo`, or the one that is named:
`marimo run notebooks/explore.py -- --pipeline ometria_pipeline`. `marimo edit` shows the code, to go on from. The
tables are only read, and no person's name or address is shown.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Ometria")

with app.setup:
    import re
    from pathlib import Path

    import altair as alt
    import dlt
    import marimo as mo
    import pyarrow as pa
    from dlt.common.pipeline import get_dlt_pipelines_dir
    from dlt.destinations.exceptions import DatabaseException
    from dlt.pipeline.exceptions import CannotRestorePipelineException

    from ometria_source import ended_at, has_personal_name

    # Lists in a chart: more cannot be told apart.
    MOST_LISTS = 12

    # Campaigns in a chart, the largest.
    MOST_CAMPAIGNS = 15

    # In place of a number.
    NOTHING = "-"

    # A picture in the page's own document can be selected, searched and read aloud.
    _ = alt.renderers.set_embed_options(renderer="svg", actions=False)


@app.function
def newest_pipeline() -> str:
    """The pipeline of this package that ran last."""
    folders = [Path(get_dlt_pipelines_dir()) / name for name in ("ometria_pipeline", "ometria_demo")]
    found = [folder for folder in folders if (folder / "state.json").exists()]
    return max(found, key=lambda folder: (folder / "state.json").stat().st_mtime, default=folders[0]).name


@app.function
def first_like(names: list[str], *patterns: str) -> str | None:
    """The first name that looks like the first pattern, else like the next."""
    return next((name for pattern in patterns for name in names if re.search(pattern, name, re.IGNORECASE)), None)


@app.function
def missing(table: str) -> mo.Html:
    """Says that there is nothing to show."""
    return mo.callout(mo.md(f"`{table}` is not loaded, or is empty."), kind="neutral")


@app.function
def longest_first(chart: alt.Chart, name: str, number: str, **colour: alt.Color) -> alt.Chart:
    """Bars of a number for each name."""
    return chart.encode(
        x=alt.X(f"{number}:Q", title=number),
        y=alt.Y(f"{name}:N", sort="-x", title=None),
        tooltip=[f"{name}:N", *(part.shorthand for part in colour.values()), f"{number}:Q"],
        **colour,
    ).properties(width="container", height=alt.Step(26))


@app.function
def over_time(chart: alt.Chart, time: str, unit: str, number: str, by: str) -> alt.Chart:
    """A number over time, in a colour for each part."""
    return chart.encode(
        x=alt.X(f"{time}:T", timeUnit=unit, title=None),
        y=alt.Y(f"{number}:Q", title=number),
        color=alt.Color(f"{by}:N", title=None),
        tooltip=[alt.Tooltip(f"{time}:T", timeUnit=unit), f"{by}:N", f"{number}:Q"],
    ).properties(width="container", height=240)


@app.cell
def _():
    arguments = mo.cli_args()
    _name = arguments.get("pipeline") or newest_pipeline()
    try:
        pipeline = dlt.attach(_name, destination=arguments.get("destination"), dataset_name=arguments.get("dataset"))
    except CannotRestorePipelineException:
        _nothing = f"No load of `{_name}` is known on this machine. Load first, if only the demo: "
        mo.stop(True, mo.callout(mo.md(f"{_nothing}`python pipelines/ometria_pipeline.py --demo`."), kind="warn"))

    def ask(query: str) -> pa.Table:
        """The answer to a query, which is written as for DuckDB and sent as the destination writes it."""
        return pipeline.dataset()(query, query_dialect="duckdb").arrow()

    def columns(table: str) -> list[str]:
        """The columns of a table, without dlt's."""
        return [name for name in pipeline.default_schema.get_table_columns(table) if not name.startswith("_dlt_")]

    def current(table: str) -> str:
        """A table without past versions, and without rows that vanished and are kept."""
        ended = ended_at(pipeline.default_schema.tables[table])
        return f'(SELECT * FROM {table} WHERE "{ended}" IS NULL)' if ended else table

    def count(table: str) -> int:
        """The current rows of a table."""
        return ask(f"SELECT COUNT(*) AS n FROM {current(table)} AS t")["n"][0].as_py() if table in tables else 0

    try:
        tables = set(pipeline.dataset().tables)
        rows = {name: count(name) for name in ("profiles", "lists", "member_lists", "unsubscribes", "email_events")}
    except Exception as _error:  # noqa: BLE001  whatever a driver raises
        _what = f"The tables of `{pipeline.dataset_name}` cannot be read ({type(_error).__name__}). "
        _do = f"Check `destination.{pipeline.destination.destination_name}.credentials`, and load again."
        mo.stop(True, mo.callout(mo.md(_what + _do), kind="warn"))
    return ask, columns, current, pipeline, rows, tables


@app.cell
def _(ask, current, pipeline, rows):
    if rows["profiles"]:
        query = f"""
            SELECT COUNT(*) AS people, COUNT(CASE WHEN marketing_optin THEN 1 END) AS opted_in
            FROM {current("profiles")} AS p"""
        people = ask(query).to_pylist()[0]
    else:
        people = {"people": 0, "opted_in": 0}
    opted_in = f"{people['opted_in'] / people['people']:.0%}" if people["people"] else NOTHING
    mo.vstack(
        [
            mo.md(f"""
            # Ometria

            Pipeline `{pipeline.pipeline_name}`, loaded to {pipeline.destination.destination_name}, dataset
            `{pipeline.dataset_name}`.
            """),
            mo.hstack(
                [
                    mo.stat(f"{rows['profiles']:,}", label="profiles"),
                    mo.stat(opted_in, label="opted in to marketing"),
                    mo.stat(f"{rows['lists']:,}", label="lists"),
                    mo.stat(f"{rows['email_events']:,}", label="e-mail events"),
                    mo.stat(f"{rows['unsubscribes']:,}", label="unsubscribes"),
                ],
                widths="equal",
            ),
        ]
    )
    return


@app.cell
def _(ask, rows, tables):
    newest_of = {
        "profiles": "dates__last_seen",
        "lists": "timestamp_last_refreshed",
        "member_lists": None,
        "unsubscribes": "timestamp",
        "email_events": "_file_modified_at",
    }
    lines = []
    for _table, _column in newest_of.items():
        _newest = None
        if _column and _table in tables:
            _newest = ask(f'SELECT MAX("{_column}") AS newest FROM {_table}')["newest"][0].as_py()
        _told = f"{_newest:%Y-%m-%d %H:%M}, by `{_column}`" if _newest else NOTHING
        lines.append(f"| `{_table}` | {rows[_table]:,} | {_told} |")
    loads = ask("""
        SELECT CAST(CAST(inserted_at AS DATE) AS VARCHAR) AS day,
               CASE WHEN status = 0 THEN 'loaded' ELSE 'unfinished' END AS state, COUNT(*) AS packages
        FROM _dlt_loads GROUP BY 1, 2""")
    load_health = (
        alt.Chart(loads, title="Load packages by day: a run makes one for each table")
        .mark_bar(size=18)
        .encode(
            x=alt.X("day:O", title=None),
            y=alt.Y("packages:Q", title="packages"),
            color=alt.Color("state:N", title=None, scale=alt.Scale(domain=["loaded", "unfinished"])),
            tooltip=["day:O", "state:N", "packages:Q"],
        )
        .properties(width="container", height=140)
    )
    mo.vstack(
        [
            mo.md(
                "\n".join(
                    [
                        "## Load health and freshness",
                        "",
                        "| table | rows | newest (UTC) |",
                        "|:--|--:|:--|",
                        *lines,
                    ]
                )
            ),
            load_health,
        ]
    )
    return


@app.cell
def _(ask, current, rows):
    if rows["lists"] and rows["member_lists"]:
        sizes = ask(f"""
            SELECT l.list_id, COALESCE(l.title, l.list_id) AS list, COUNT(m.profile_id) AS members
            FROM {current("lists")} AS l LEFT JOIN {current("member_lists")} AS m ON l.list_id = m.list_id
            GROUP BY l.list_id, COALESCE(l.title, l.list_id)
            ORDER BY members DESC, list""").to_pylist()
    else:
        sizes = []
    # two lists may bear one title
    titles = [size["list"] for size in sizes]
    names = {
        size["list_id"]: size["list"] if titles.count(size["list"]) == 1 else f"{size['list']} ({size['list_id']})"
        for size in sizes
    }
    lists = mo.ui.multiselect(
        options={name: list_id for list_id, name in names.items()},
        value=list(names.values())[:MOST_LISTS],
        label="lists",
    )
    mo.vstack([mo.md("## Lists"), lists if sizes else missing("member_lists")])
    return lists, names, sizes


@app.cell
def _(ask, current, lists, names, rows, sizes):
    shown = [
        {"list": names[size["list_id"]], "members": size["members"]} for size in sizes if size["list_id"] in lists.value
    ]
    size_chart = longest_first(alt.Chart(alt.Data(values=shown), title="Members today").mark_bar(), "list", "members")
    if shown and rows["profiles"]:
        joined = ask(f"""
            SELECT m.list_id, CAST(DATE_TRUNC('month', p.dates__acquired) AS DATE) AS acquired, COUNT(*) AS members
            FROM {current("member_lists")} AS m JOIN {current("profiles")} AS p ON m.profile_id = p.profile_id
            WHERE p.dates__acquired IS NOT NULL
            GROUP BY 1, 2 ORDER BY 1, 2""").to_pylist()
    else:
        joined = []
    growth, totals = [], {}
    for month in joined:
        if month["list_id"] in lists.value:
            name = names[month["list_id"]]
            totals[name] = totals.get(name, 0) + month["members"]
            growth.append({"list": name, "acquired": month["acquired"].isoformat(), "members": totals[name]})
    growth_title = "Today's members by the month in which they were acquired, added up"
    growth_chart = over_time(
        alt.Chart(alt.Data(values=growth), title=growth_title).mark_line(point=True),
        "acquired",
        "utcyearmonth",
        "members",
        "list",
    )
    mo.vstack([size_chart, growth_chart]) if shown else None
    return


@app.cell
def _(ask, current, lists, names):
    # of these alone: all lists of an account with each other are too many
    picked_lists = ", ".join("'" + list_id.replace("'", "''") + "'" for list_id in lists.value)
    if len(lists.value) > 1:
        pairs = ask(f"""
            SELECT a.list_id AS one, b.list_id AS other, COUNT(*) AS people
            FROM {current("member_lists")} AS a
            JOIN {current("member_lists")} AS b ON a.profile_id = b.profile_id
            WHERE a.list_id IN ({picked_lists}) AND b.list_id IN ({picked_lists})
            GROUP BY a.list_id, b.list_id""").to_pylist()
    else:
        pairs = []
    overlap = [
        {"list": names[pair["one"]], "also in": names[pair["other"]], "people": pair["people"]} for pair in pairs
    ]
    base = alt.Chart(alt.Data(values=overlap), title="Overlap: people who are in both").encode(
        x=alt.X("also in:N", title=None, axis=alt.Axis(labelAngle=-40)), y=alt.Y("list:N", title=None)
    )
    overlap_chart = (
        base.mark_rect().encode(
            color=alt.Color("people:Q", scale=alt.Scale(scheme="blues"), legend=None),
            tooltip=["list:N", "also in:N", "people:Q"],
        )
        + base.mark_text().encode(text="people:Q")
    ).properties(width="container", height=alt.Step(28))
    overlap_chart if overlap else None
    return


@app.cell
def _(columns, rows):
    # not those that say who somebody is
    event_columns = (
        [name for name in columns("email_events") if not has_personal_name(name)] if rows["email_events"] else []
    )
    choices = {
        "kind": first_like(event_columns, r"event_?type$", r"^(event|action|type)$", r"type"),
        "time": first_like(event_columns, r"^(event_?)?(time|timestamp|date)$", r"(_at|_time|_date|timestamp)$"),
        "campaign": first_like(event_columns, r"campaign_?(title|name)", r"campaign", r"subject"),
        "message": first_like(event_columns, r"(send|message|mail)_?id$", r"event_key"),
    }
    labels = {"kind": "what happened", "time": "when", "campaign": "campaign", "message": "e-mail"}
    chosen = mo.ui.dictionary(
        {
            name: mo.ui.dropdown(event_columns, value=column, label=labels[name], searchable=True)
            for name, column in choices.items()
        }
    )
    mo.vstack(
        [
            mo.md("""
            ## E-mail

            The export's columns are not public: here a row is an event, and these columns, guessed by their names, say
            what of.
            """),
            mo.hstack(list(chosen.values()), justify="start") if event_columns else missing("email_events"),
        ]
    )
    return (chosen,)


@app.cell
def _(ask, chosen, rows):
    kinds = []
    if rows["email_events"] and chosen.value["kind"]:
        kinds = ask(f'SELECT DISTINCT CAST("{chosen.value["kind"]}" AS VARCHAR) AS kind FROM email_events')
        kinds = sorted(kind for kind in kinds["kind"].to_pylist() if kind)
    steps = {
        "sent": first_like(kinds, r"^sen[dt]$", r"sen[dt]", r"deliver"),
        "opened": first_like(kinds, r"open"),
        "clicked": first_like(kinds, r"click"),
    }
    return kinds, steps


@app.cell
def _(ask, chosen, kinds, steps):
    kind, message, campaign = (chosen.value[name] for name in ("kind", "message", "campaign"))
    if kinds and message and campaign and any(steps.values()):
        counts = ", ".join(
            f'COUNT(DISTINCT CASE WHEN CAST("{kind}" AS VARCHAR) = \'{value}\' THEN "{message}" END) AS {step}'
            for step, value in steps.items()
            if value and "'" not in value
        )
        by_campaign = ask(f"""
            SELECT COALESCE(CAST("{campaign}" AS VARCHAR), '(none)') AS campaign, {counts}
            FROM email_events GROUP BY 1""").to_pylist()
    else:
        by_campaign = []
    found = [step for step in steps if by_campaign and step in by_campaign[0]]
    if not found:
        by_campaign = []
    by_campaign.sort(key=lambda row: (-row[found[0]], row["campaign"]))
    campaigns = mo.ui.dropdown(
        ["all campaigns", *(row["campaign"] for row in by_campaign)], value="all campaigns", label="funnel of"
    )
    campaigns if by_campaign else None
    return by_campaign, campaigns, found


@app.cell
def _(by_campaign, campaigns, found):
    picked = [row for row in by_campaign if campaigns.value in ("all campaigns", row["campaign"])]
    funnel = [{"step": step, "e-mails": sum(row[step] for row in picked)} for step in found]
    first = funnel[0]["e-mails"] if funnel else 0
    for step in funnel:
        step["of sent"] = f"{step['e-mails'] / first:.1%}" if first else NOTHING
    funnel_base = alt.Chart(alt.Data(values=funnel), title=f"E-mails of {campaigns.value}").encode(
        y=alt.Y("step:N", sort=found, title=None), x=alt.X("e-mails:Q", title="e-mails")
    )
    funnel_chart = (
        funnel_base.mark_bar().encode(tooltip=["step:N", "e-mails:Q", "of sent:N"])
        + funnel_base.mark_text(align="left", dx=4).encode(text="of sent:N")
    ).properties(width="container", height=alt.Step(34))
    rates = [
        {"campaign": row["campaign"], "step": step, "e-mails": row[step]}
        for row in by_campaign[:MOST_CAMPAIGNS]
        for step in found
    ]
    campaign_chart = (
        alt.Chart(alt.Data(values=rates), title="The largest campaigns")
        .mark_bar()
        .encode(
            y=alt.Y("campaign:N", sort=[row["campaign"] for row in by_campaign], title=None),
            x=alt.X("e-mails:Q", title="e-mails"),
            yOffset=alt.YOffset("step:N", sort=found),
            color=alt.Color("step:N", sort=found, title=None),
            tooltip=["campaign:N", "step:N", "e-mails:Q"],
        )
        .properties(width="container", height=alt.Step(14))
    )
    mo.vstack([funnel_chart, campaign_chart]) if funnel else None
    return


@app.cell
def _(ask, chosen, kinds):
    engagement = []
    if kinds and chosen.value["time"]:
        try:
            engagement = ask(f"""
                SELECT CAST(TRY_CAST("{chosen.value["time"]}" AS TIMESTAMP) AS DATE) AS day,
                       CAST("{chosen.value["kind"]}" AS VARCHAR) AS kind, COUNT(*) AS events
                FROM email_events GROUP BY 1, 2""").to_pylist()
        except DatabaseException:
            # not every destination has TRY_CAST, and the error would quote a value
            engagement = []
    events_by_day = [{**row, "day": row["day"].isoformat()} for row in engagement if row["day"]]
    engagement_chart = over_time(
        alt.Chart(alt.Data(values=events_by_day), title="Events by day").mark_line(point=True),
        "day",
        "utcyearmonthdate",
        "events",
        "kind",
    )
    no_time = mo.callout(mo.md("No column that can be read as a time says when: choose another one."), kind="neutral")
    engagement_chart if events_by_day else no_time if kinds else None
    return


@app.cell
def _(ask, rows):
    if rows["unsubscribes"]:
        reasons = ask("""
            SELECT COALESCE(reason, '(none given)') AS reason, COUNT(*) AS unsubscribes
            FROM unsubscribes GROUP BY 1""")
        by_month = ask("""
            SELECT CAST(DATE_TRUNC('month', "timestamp") AS DATE) AS month, type, COUNT(*) AS unsubscribes
            FROM unsubscribes GROUP BY 1, 2""")
        reason_chart = longest_first(alt.Chart(reasons, title="By reason").mark_bar(), "reason", "unsubscribes")
        month_chart = over_time(
            alt.Chart(by_month, title="By month and by where they were made").mark_bar(),
            "month",
            "utcyearmonth",
            "unsubscribes",
            "type",
        )
        unsubscribed = mo.vstack([reason_chart, month_chart])
    else:
        unsubscribed = missing("unsubscribes")
    mo.vstack([mo.md("## Unsubscribes"), unsubscribed])
    return


@app.cell
def _(rows):
    by = mo.ui.dropdown(["lifecycle_status", "country", "gender", "timezone"], value="lifecycle_status", label="by")
    mo.vstack([mo.md("## Consent"), by if rows["profiles"] else missing("profiles")])
    return (by,)


@app.cell
def _(ask, by, current, rows):
    if rows["profiles"]:
        consent = ask(f"""
            SELECT COALESCE({by.value}, '(not known)') AS part,
                   CASE WHEN marketing_optin THEN 'opted in' WHEN NOT marketing_optin THEN 'opted out'
                        ELSE 'not known' END AS consent,
                   COUNT(*) AS people
            FROM {current("profiles")} AS p GROUP BY 1, 2""")
        consent_colours = alt.Scale(
            domain=["opted in", "opted out", "not known"], range=["#2a9d8f", "#e76f51", "#bbbbbb"]
        )
        consent_chart = longest_first(
            alt.Chart(consent, title=f"Consent to marketing by {by.value}").mark_bar(),
            "part",
            "people",
            color=alt.Color("consent:N", title=None, scale=consent_colours),
        )
    else:
        consent_chart = None
    consent_chart
    return


if __name__ == "__main__":
    app.run()

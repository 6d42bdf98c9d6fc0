"""Constants of the source. Each says where it comes from; a guess says that it is one."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

# The only host that Ometria documents (Ometria docs: Data API introduction).
DEFAULT_BASE_URL = "https://api.ometria.com/v2"

# Ometria allows one account 4 requests a second, all keys together (Ometria docs: Data API introduction), and more on
# some plans. A quarter is left to the account's other integrations, and `requests_per_second` is a setting.
DEFAULT_REQUESTS_PER_SECOND = 3.0

# Requests and seconds of the endpoints with a limit of their own, by the start of their paths (Ometria docs: Data API
# introduction, GDPR API): reading the requests for erasure counts against these, not against the account's rate.
ENDPOINT_LIMITS = {"/data-deletion-requests": (6.0, 60.0)}

# The largest page that Ometria documents (Ometria docs: Profiles API).
PAGE_LIMIT = 250

# Rows of a collection that a run keeps in memory: all lists, or the names of all collections of contacts. So many lists
# take about 50 MB. A guess at what no account has.
MOST_IN_MEMORY = 100_000

# The size of a page when `limit` is not given or not honoured (Ometria docs: Profiles API).
UNASKED_PAGE_LIMIT = 10

# How long one request is retried: longer than a ten minute outage is a guess at what a scheduled run should outlive.
DEFAULT_PATIENCE_MINUTES = 10.0

# `updateSince` has the granularity of a date, and its zone and inclusiveness are not documented (Ometria docs: Profiles
# API). Two days cover every zone and either bound.
PROFILES_LOOKBACK = timedelta(days=2)

# `updateSince` is not known to report every change (erasures, merges and moves of segments are not): a complete scan a
# day bounds how long such a change can stay unseen. A guess at what most accounts can afford.
DEFAULT_FULL_SCAN_DAYS = 1

# A finished scan serves the other table of the run that made it. A source object that is used again later reads anew. A
# guess at what lies between two tables of one run.
SHARED_FOR = timedelta(minutes=10)

# A `reason` can appear after the event. How late is not documented: two days is a guess.
UNSUBSCRIBES_LAG = timedelta(days=2)

# What `/unsubscribes` answers without `since` is not documented, so `since` is always sent. That no account has an
# older event is an assumption; set `start_date` where it does not hold.
FIRST_UNSUBSCRIBE = datetime(2013, 1, 1, tzinfo=timezone.utc)

# S3 shows a multipart upload when it is complete, with the time of its start: a file can appear late. By how much is
# not documented by Ometria: two days is a guess, and `file_lag_days` is a setting.
DEFAULT_FILE_LAG_DAYS = 2

# The longest record of an export: of csv, of JSON lines, of Parquet. Far beyond any event, and warehouses end at 16 MiB
# a cell or well below: so a longer one is a quote that was never closed, or no data.
MAX_RECORD_BYTES = 16 << 20

# What a shell reports of a program that a signal ended: this and the signal's number (Bash manual, "Exit Status").
SIGNAL_STATUS = 128

# What README.md and the example of .dlt/secrets.toml have in the place of values.
PLACEHOLDER_KEY = "from Settings"
PLACEHOLDER_BUCKET = ("s3://your-bucket", "s3://bucket/prefix")

"""Where an account's lists are read: Ometria documents that members can be listed, but not under which path.

Fivetran has a table of members, Daasity fills one from "the Lists endpoint"; the three paths here are guesses. One of
them counts as found when it answers with items that carry a profile's id.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from ometria_source.api.client import JsonObject, OmetriaClient
from ometria_source.api.scan import scan
from ometria_source.exceptions import AccessDeniedError, NotFoundError, UnexpectedAnswerError
from ometria_source.settings import PAGE_LIMIT

log = logging.getLogger(__name__)

# In this order: the documented 404 of "list profiles" speaks of lists, which hints at the first.
CANDIDATE_PATHS = ("/lists/{list_id}/profiles", "/lists/{list_id}/members", "/lists/{list_id}/contacts")

# A list may be gone, or empty, when it is asked for: so many are tried before a path is given up.
LISTS_TRIED = 3


def find_path(client: OmetriaClient, lists: Sequence[JsonObject], remembered: str | None) -> str | None:
    """The path that answers with members.

    Args:
        client: Reads the API.
        lists: All lists of the account.
        remembered: The path that answered on an earlier run; it is tried first.

    Returns:
        A template with `{list_id}`; None where no path is known to give members. Where all lists are empty, a path that
        says so.
    """
    by_size = sorted(lists, key=lambda item: size_of(item) or 0, reverse=True)[:LISTS_TRIED]
    empty: str | None = None
    for template in sorted(CANDIDATE_PATHS, key=lambda path: path != remembered):
        verdict = _try_path(client, template, by_size)
        if verdict == "members":
            return template
        if verdict == "empty" and empty is None:
            empty = template
    return empty if all(size_of(item) == 0 for item in lists) else None


def _try_path(client: OmetriaClient, template: str, lists: Sequence[JsonObject]) -> str:
    verdict = "none"
    for item in lists:
        path = list_path(template, item)
        try:
            members = client.get(path, {"limit": PAGE_LIMIT, "offset": 0}, probe=True)
        except NotFoundError:
            continue
        except (AccessDeniedError, UnexpectedAnswerError) as error:
            log.info("%s is not taken for a path to members: %s", template, error)
            return "none"
        if members:
            return "members" if all(profile_id(member) for member in members) else "none"
        verdict = "empty"
    return verdict


def members_of(client: OmetriaClient, template: str, item: JsonObject) -> Iterator[list[str]]:
    """The profile ids of one list.

    Args:
        client: Reads the API.
        template: From `find_path`.
        item: The list.

    Yields:
        Pages of profile ids. One profile may come twice, where the items are contacts.

    Raises:
        NotFoundError: The list is gone.
        UnexpectedAnswerError: An item carries no profile id.
        OmetriaError: As `scan`.
    """
    path = list_path(template, item)
    for page in scan(client, path, paged=False, identify=_item_id):
        ids = [profile_id(member) for member in page]
        if None in ids:
            raise UnexpectedAnswerError(path, "an item without a profile's id")
        yield [identifier for identifier in ids if identifier is not None]


def profile_id(member: JsonObject) -> str | None:
    """The profile that an item of a list stands for: it may be a profile, a contact, or a bare pair of ids."""
    for field in ("profile_id", "@profile_id"):
        if member.get(field):
            return str(member[field])
    if member.get("@type") == "profile" and member.get("id"):
        return str(member["id"])
    return None


def _item_id(member: JsonObject) -> str:
    """What no two items of a list have in common: ids of contacts are unique in their collection only."""
    parts = [member.get(field) for field in ("@collection", "collection", "id", "profile_id", "@profile_id")]
    return repr(parts if any(parts) else member)


def list_path(template: str, item: JsonObject) -> str:
    """The path of one list."""
    return template.format(list_id=quote(str(item["id"]), safe=""))


def size_of(item: JsonObject) -> int | None:
    """What Ometria says is in a list; None where it does not say."""
    size = item.get("size")
    return size if isinstance(size, int) else None

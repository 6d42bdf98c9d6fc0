"""Invents the mailing history: campaigns, their sends, opens, clicks and bounces, and the opt-outs that follow.

It hangs together: only somebody who was sent an e-mail opens it, only somebody who opened it clicks, nobody is sent
another one after an opt-out or a bounce, and an opt-out names the send that caused it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ometria_source.simulator.invention import DAY, email, mix, profile_id
from ometria_source.simulator.timestamps import from_epoch, iso, spaced

Event = dict[str, "str | None"]

EVENT_COLUMNS = (
    "event_id", "event_type", "event_time", "profile_id", "email", "send_id", "mass_campaign_id", "campaign_title",
    "campaign_type", "subject", "target_url", "device_type",
)  # fmt: skip


@dataclass(frozen=True)
class Campaign:
    """A campaign, and how many days before the account's present it was sent."""

    id: str
    title: str | None
    type: str
    subject: str | None
    days_ago: float


# The cells are chosen to be awkward: each is something that a reader of CSV files has been seen to change.
CAMPAIGNS = (
    Campaign("007", "Spring, at last", "mass", 'Spring is here,\nand "finally" 🌷', 57.4),
    Campaign("1001", " padded ", "mass", "New in: linen", 49.3),
    Campaign("1002", "NaN", "mass", "null", 41.7),
    Campaign("1003", "+442079460123", "automation", "", 36.2),
    Campaign("1004", "Crème brûlée week", "mass", None, 28.4),
    Campaign("0005", None, "automation", "1,5 % off; =SUM(A1)", 21.6),
    Campaign("1006", "Reminder", "automation", "Your basket misses you", 12.3),
    Campaign("1007", "Summer", "mass", "0001", 6.4),
    Campaign("1007", "Summer", "mass", "0001", 3.2),
    Campaign("1008", "true", "mass", "Last chance\ttoday", 1.3),
    Campaign("1009", "1e5", "automation", "You left\r\nsomething", 0.2),
)

_REASONS = ("Too many e-mails", None, None, 'Other: "moved", 🙂', None)
_TYPES = (
    "link_unsubscribe", "list_unsubscribe", "link_unsubscribe", "preferences_centre", "list_unsubscribe", "app",
    "stopword_unsubscribe_TF", "link_unsubscribe",
)  # fmt: skip


def make_event(number: int, seed: int, kind: str, time: str, who: tuple[str | None, str | None], send_id: str | None,
               campaign: Campaign) -> Event:  # fmt: skip
    """Build one event, every cell as text.

    Args:
        number: Position in the account's log, which makes the event's id.
        seed: Of the account.
        kind: `send`, `open`, `click` or `bounce`.
        time: As it shall be written.
        who: Profile id and e-mail address.
        send_id: The send that the event belongs to.
        campaign: What was sent.
    """
    pick = mix(seed + 5, number)
    return {
        "event_id": f"evt-{mix(seed + 6, number):016x}",
        "event_type": kind,
        "event_time": time,
        "profile_id": who[0],
        "email": who[1],
        "send_id": send_id,
        "mass_campaign_id": campaign.id,
        "campaign_title": campaign.title,
        "campaign_type": campaign.type,
        "subject": campaign.subject,
        "target_url": f"https://shop.test/p/{pick % 50:03d}?a=1,2&b=%20" if kind == "click" else None,
        "device_type": ("desktop", "mobile", "")[pick % 3] if kind in ("open", "click") else None,
    }


def make_unsubscribe(profile: str, address: str | None, kind: str, reason: str | None, time: str,
                     send_id: str | None = None, campaign_id: str | None = None) -> dict[str, Any]:  # fmt: skip
    """Build one unsubscribe as the API answers it; the send and the campaign are there only where they are known."""
    row: dict[str, Any] = {
        "profile_id": profile,
        "email_address": address,
        "type": kind,
        "reason": reason,
        "timestamp": time,
    }
    if send_id is not None:
        row["send_id"] = send_id
        row["mass_campaign_id"] = campaign_id
    return row


@dataclass
class History:
    """What was mailed to invented people, and what they did; events and unsubscribes are in order of time."""

    events: list[Event] = field(default_factory=list)
    unsubscribes: list[dict[str, Any]] = field(default_factory=list)
    opted_out: set[int] = field(default_factory=set)
    bounced: set[int] = field(default_factory=set)


def invent_history(seed: int, profiles: int, now: int, max_events: int) -> History:  # noqa: C901  one story, told once
    """Invent the mailings of the 60 days before `now`.

    Args:
        seed: Of the account.
        profiles: How many people there are; their indexes count from 0.
        now: The account's present, in seconds since 1970.
        max_events: Roughly how many events there may be: of a large account only a sample is mailed.
    """
    history = History()
    draft: list[tuple[int, str, int, str, Campaign]] = []
    opt_outs: list[tuple[int, int, str, str | None, Campaign]] = []
    # One mailing makes about 1.6 events a person: the step keeps a large account's log within `max_events`.
    step = max(1, int(profiles * len(CAMPAIGNS) * 1.6 / max(1, max_events)))
    for wave, campaign in enumerate(CAMPAIGNS):
        start = now - int(campaign.days_ago * DAY)
        span = min(2 * 3_600, int(campaign.days_ago * DAY) // 2)
        for index in range(wave % step, profiles, step):
            pick = mix(seed + 7, wave * profiles + index)
            if email(seed, index) is None or index in history.opted_out or index in history.bounced or pick % 4 == 0:
                continue
            sent = start + (pick >> 8) % 600
            send_id = f"{mix(seed + 8, wave * profiles + index):016x}"
            draft.append((sent, "send", index, send_id, campaign))
            if (pick >> 20) % 50 == 0:
                draft.append((sent + 5, "bounce", index, send_id, campaign))
                history.bounced.add(index)
                continue
            if (pick >> 24) % 5 < 2:
                opened = sent + 1 + (pick >> 28) % span
                draft.append((opened, "open", index, send_id, campaign))
                if (pick >> 32) % 3 == 0:
                    draft.append((opened + 9, "click", index, send_id, campaign))
                if (pick >> 36) % 12 == 0:
                    kind = _TYPES[(pick >> 40) % len(_TYPES)]
                    opt_outs.append((opened + 30, index, kind, send_id, campaign))
                    history.opted_out.add(index)
    if profiles > 2:  # The person without an address can still answer STOP to a text message.
        opt_outs.append((now - 5 * DAY, 2, "stopword_unsubscribe_DO", None, CAMPAIGNS[0]))
        history.opted_out.add(2)
    draft.sort(key=lambda item: (item[0], item[3]))
    for number, (time, kind, index, send_id, campaign) in enumerate(draft):
        who = (profile_id(seed, index), email(seed, index))
        history.events.append(make_event(number, seed, kind, iso(from_epoch(time)), who, send_id, campaign))
    opt_outs.sort(key=lambda item: item[0])
    for time, index, kind, cause, campaign in opt_outs:
        row = make_unsubscribe(
            profile_id(seed, index), email(seed, index), kind, _REASONS[index % len(_REASONS)],
            spaced(from_epoch(time)), cause if index % 2 else None, campaign.id,
        )  # fmt: skip
        history.unsubscribes.append(row)
    return history

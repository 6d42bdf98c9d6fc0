"""What the retailer of a simulated account knows besides its people: contacts, products, orders, and logs about them.

All of it is invented. It follows from the profiles that are there when it is first asked for; an account whose shop is
never asked for does without. The spelling is that of the reference; `shop_answers` spells it otherwise where the
reference is unsure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any

from ometria_source.simulator.invention import mix
from ometria_source.simulator.timestamps import iso, spaced

Record = dict[str, Any]

# The second has the same contact ids as the first, and the third a name that must be percent-encoded.
COLLECTIONS = ("customers", "newsletter", "in store/till 2")

OPTINS = {True: "EXPLICITLY_OPTEDIN", False: "EXPLICITLY_OPTEDOUT", None: "NOT_SPECIFIED"}

MOST_PUSH_ERRORS = 100

_TITLES = (
    "Crème brûlée set",
    'Mug "Leeds", blue',
    "Scarf, 50 % wool",
    "Tea 茶",
    "'; DROP TABLE products; --",
    "Gift 🎁",
)
_STORES = ("uk", "fr", "de")


def make_contact(collection: str, contact_id: str, person: Mapping[str, Any], now: datetime) -> Record:
    """A contact of a profile, with the fields that clients have seen (reference, section 5.3)."""
    acquired = (person.get("dates") or {}).get("acquired")
    same = ("email", "customer_id", "phone_number", "prefix", "firstname", "middlename", "lastname", "gender",
            "date_of_birth", "timezone", "properties")  # fmt: skip
    return {
        "@type": "contact",
        "@collection": collection,
        "id": contact_id,
        "@profile_id": person["id"],
        **{name: person.get(name) for name in same},
        "marketing_optin": OPTINS[person.get("marketing_optin")],
        "country_id": person.get("country"),
        "store_ids": ["online"] if collection == "customers" else [],
        "channels": {"sms": {"allow_marketing": collection == "newsletter", "allow_transactional": True}},
        "timestamp_acquired": acquired,
        "timestamp_subscribed": acquired,
        "timestamp_unsubscribed": None,
        "dt_object_created": iso(now - timedelta(days=30)),
        "dt_object_updated": iso(now - timedelta(days=2)),
    }


class Shop:
    """Contacts, products, orders, custom events, list changes, push errors and deletion requests.

    Attributes:
        contacts: By collection and id, each in internal order.
        products: By id.
        orders: By id.
        custom_events: By id.
        list_changes: By list id, in the order of recording.
        push_errors: In the order of recording; all of them, of which the API gives the newest.
        deletion_requests: By id.
    """

    def __init__(self, people: Iterable[Mapping[str, Any]], lists: Mapping[str, list[str]], now: datetime) -> None:
        self.contacts: dict[str, dict[str, Record]] = {name: {} for name in COLLECTIONS}
        self.products: dict[str, Record] = {}
        self.orders: dict[str, Record] = {}
        self.custom_events: dict[str, Record] = {}
        self.list_changes: dict[str, list[Record]] = {}
        self.push_errors: list[Record] = []
        self.deletion_requests: dict[str, Record] = {}
        self._now = now
        everyone = list(people)
        self._invent_records(everyone)
        self._invent_logs(lists)

    def _invent_records(self, everyone: list[Mapping[str, Any]]) -> None:
        for number, person in enumerate(everyone):
            self._invent_contacts(number, person)
        for number in range(max(24, len(everyone) // 20)):
            self._invent_product(number)
        for number in range(max(20, len(everyone) // 3)):
            self._invent_order(number, everyone)
        for number, person in enumerate(everyone[:25]):
            self._invent_custom_event(number, person)

    def _invent_logs(self, lists: Mapping[str, list[str]]) -> None:
        for list_id, members in lists.items():
            self.list_changes[list_id] = []
            # more than ten for three people or more, whatever is added: an answer of ten may be cut, and is refused
            for days in range(16, 10, -1):
                for profile_id in members[1:2]:
                    event = "list_exit" if days % 2 else "list_enter"
                    self.change_list(list_id, profile_id, event, self._now - timedelta(days=days))
            for place, profile_id in enumerate(members[:7]):
                self.change_list(list_id, profile_id, "list_enter", self._now - timedelta(days=9, minutes=place))
            for days, event in ((7, "list_exit"), (5, "list_enter")):
                for profile_id in members[:1]:
                    self.change_list(list_id, profile_id, event, self._now - timedelta(days=days))
        for number in range(12):
            self.fail_push(number % 5, at=self._now - timedelta(hours=12 - number))
        for number in range(5):
            self.request_deletion(f"{number:032x}", at=self._now - timedelta(days=20 - number))
        for request in list(self.deletion_requests)[:4]:
            self.complete_deletion(request)

    # Contacts

    def _invent_contacts(self, number: int, person: Mapping[str, Any]) -> None:
        self.add_contact("customers", f"{number:04d}", person)
        if number % 3 == 0:
            self.add_contact("newsletter", f"{number:04d}", person)
        if number % 11 == 0:
            self.add_contact("in store/till 2", f"till-{number}/1e5", person)
        if number == 5:
            self.add_contact("customers", "second contact of one person", person)

    def add_contact(self, collection: str, contact_id: str, person: Mapping[str, Any], **fields: object) -> None:
        """Add a contact of a profile."""
        contact = make_contact(collection, contact_id, person, self._now)
        self.contacts.setdefault(collection, {})[contact_id] = {**contact, **fields}

    def forget(self, profile_id: str) -> None:
        """Remove the contacts of an erased person."""
        for contacts in self.contacts.values():
            for contact_id in [key for key, row in contacts.items() if row["@profile_id"] == profile_id]:
                del contacts[contact_id]

    # Products

    def _invent_product(self, number: int) -> None:
        is_variant = number % 4 == 3
        self.products[f"{number:03d}"] = {
            "@type": "product",
            "id": f"{number:03d}",
            "sku": f"SKU-{number}",
            "title": _TITLES[number % len(_TITLES)],
            "url": f"https://www.shop.test/products/{number}",
            "image_url": None if number % 5 == 0 else f"https://www.shop.test/images/{number}.png",
            "price": 10 + number / 4,
            "currency": "GBP",
            "is_active": number % 6 != 0,
            "is_in_stock": number % 2 == 0,
            "is_variant": is_variant,
            "special_price": 9.99 if number % 3 == 0 else None,
            "special_price_dt_from": iso(self._now - timedelta(days=3)) if number % 3 == 0 else None,
            "special_price_dt_to": None,
            "attributes": []
            if number == 2
            else [
                {"type": "brand", "id": "0", "label": "Invented & Sons"},
                {"type": "colour", "id": "0", "label": f"colour {number % 3}"},
            ],
            "listings": []
            if is_variant
            else [
                {
                    "store": store,
                    "title": f"{_TITLES[number % len(_TITLES)]} ({store})",
                    "price": 11 + place,
                    "currency": "EUR" if place else "GBP",
                    "is_active": place != 1,
                    "special_price": None,
                    "url": f"https://{store}.shop.test/products/{number}",
                    "image_url": None,
                }
                for place, store in enumerate(_STORES[: 1 + number % 3])
            ],
            "stores": list(_STORES[: 1 + number % 3]),
            "properties": {"season": "A/W", "weights": [1, 2.5]},
        }

    # Orders

    def _invent_order(self, number: int, people: list[Mapping[str, Any]]) -> None:
        person = people[mix(31, number) % len(people)] if people else None
        items = [self._line_item(number, place) for place in range(number % 4)]
        if len(items) == 1:
            # where there is nothing to say, a field may be missing
            del items[0]["variant_options"]
        if len(items) == 3:
            # the same thing twice: two lines that differ in nothing
            items[2] = deepcopy(items[1])
        total = round(sum(item["total"] for item in items), 2)
        totals = {
            "subtotal": total,
            "discount": 0,
            "shipping": 2.5,
            "tax": round(total / 6, 2),
            "grand_total": total + 2.5,
        }
        place = {"city": "Leeds", "state": None, "postcode": "LS1 4AP", "country_code": "GB"}
        order_id = "007" if number == 7 else "1e5" if number == 8 else f"{100000 + number}"
        self.orders[order_id] = {
            "@type": "order",
            "id": order_id,
            "timestamp": iso(self._now - timedelta(hours=number)),
            "status": ("complete", "shipped", "refunded")[number % 3],
            "is_valid": number % 9 != 4,
            "customer": None
            if person is None or number % 6 == 5
            else {
                "id": person["customer_id"],
                "email": person["email"],
                "firstname": person["firstname"],
                "lastname": person["lastname"],
            },
            "currency": "GBP",
            **totals,
            "total_refunded": 0,
            "total_unit_quantity": len(items),
            "total_unit_quantity_refunded": 0,
            "totals": {"base": {"currency": "GBP", **totals}, "local": {"currency": "EUR", **totals}},
            "web_id": f"W{number}",
            "channel": "online",
            "store": _STORES[number % 3],
            "ip_address": f"192.0.2.{number % 256}",
            "coupon_code": None,
            "payment_method": "card",
            "shipping_method": "post",
            "shipping_address": place,
            "billing_address": place if number % 2 else None,
            "properties": {"gift": number % 2 == 0},
            "lineitems": items,
        }

    def _line_item(self, number: int, place: int) -> Record:
        products = list(self.products)
        money = {"unit_price": 4.5, "subtotal": 9, "discount": 0, "tax": 1.5, "total": 9, "refunded": 0}
        return {
            "product_id": products[mix(number, place) % len(products)],
            "variant_id": None,
            "sku": f"SKU-{place}",
            "quantity": 2,
            **money,
            "quantity_refunded": 0,
            "is_on_sale": place == 1,
            "variant_options": [
                {"id": "m", "type": "size", "label": "M"},
                {"id": "m", "type": "fit", "label": "Medium"},
            ][: place + number % 2],
            "totals": {"base": {"currency": "GBP", **money}, "local": {"currency": "EUR", **money}},
            "properties": {},
        }

    # Logs

    def _invent_custom_event(self, number: int, person: Mapping[str, Any]) -> None:
        self.custom_events[f"event {number}"] = {
            "@type": "custom_event",
            "id": f"event {number}",
            "timestamp": iso(self._now - timedelta(minutes=number)),
            "event_type": ("wishlist", "store visit")[number % 2],
            "identity_email": person["email"],
            "identity_account_id": person["customer_id"],
            "profile_id": person["id"],
            "dt_observed": iso(self._now),
            "properties": {"product": "000", "note": None},
        }

    def change_list(self, list_id: str, profile_id: str, event: str, at: datetime, email: str | None = None) -> None:
        """Record that somebody entered (`list_enter`) or left (`list_exit`) a list."""
        self.list_changes.setdefault(list_id, []).append(
            {"profile_id": profile_id, "email": email, "event": event, "timestamp": iso(at)}
        )

    def fail_push(self, number: int, at: datetime) -> None:
        """Record a push that did not validate; the same number is the same record in the same request."""
        problem = len(self.push_errors)
        self.push_errors.append(
            {
                "request_id": f"request-{number}",
                "record_type": "order",
                "record_id": f"{number:03d}",
                "record": {"@type": "order", "id": f"{number:03d}", "customer": {"email": "wrong@shop.test"}},
                "timestamp": iso(at),
                "message": {"error_message": f"invalid value ({problem})", "error_path": "/customer/email"},
            }
        )

    def request_deletion(self, digest: str, at: datetime) -> str:
        """Record a request to anonymise two addresses, and return its id."""
        request_id = f"00000000-0000-4000-8000-{len(self.deletion_requests):012d}"
        self.deletion_requests[request_id] = {
            "id": request_id,
            "action": "anonymise",
            "comment": f"ticket {len(self.deletion_requests)}",
            "identities": [
                {"hashed_email": f"{digest}@anonymous.ometria"},
                {"hashed_email": f"{digest[::-1]}@anonymous.ometria"},
            ],
            "source": {
                "origin": "api",
                "api_request_id": request_id.replace("4000", "4001"),
                "user": {"email": "agent@shop.test", "name": "Agent"},
            },
            "summary": None,
            "timestamp_created": spaced(at),
            "timestamp_completed": None,
        }
        return request_id

    def complete_deletion(self, request_id: str) -> None:
        """Note that a request was worked off."""
        self.deletion_requests[request_id].update(
            summary="2 records, 7 events processed", timestamp_completed=spaced(self._now)
        )

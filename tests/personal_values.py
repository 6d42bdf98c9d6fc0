"""Invented values of people, to look for in what `privacy = "strict"` leaves behind. None is of anybody.

Use the recipe in docs/personal-data.md to look for values of your own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ometria_source.naming import snake_case

# Plain addresses, and the same as they come in URLs, in HTML and from other keyboards.
ADDRESSES = [
    "ottilie.quast@shop-0.test", "bartholomew_wren@shop-1.test", "xanthe+offers@shop-2.test",
    "o'hara-smythe@shop-3.test", "q.b=c@shop-4.test", "zebedee%3dx@shop-5.test", "!loud#@shop-6.test",
    "käthe.müller@shop-7.test", "a&b.partner@shop-8.test", "FLORIAN.BIG@shop-9.test", "x@sub.shop-10.test",
    "first.middle.last.and.more.of.it@shop-11.test", "ottilie@müller-12.test", "{braced}@shop-13.test",
    "back`tick@shop-14.test", "who?me@shop-15.test", "slash/ed@shop-16.test", "dollar$sign@shop-17.test",
    '"quoted person"@shop-q.test',
    "ottilie%40encoded-1.test",
    "ottilie%2540encoded-2.test",
    "ottilie&#64;encoded-3.test",
    "ottilie&#x40;encoded-4.test",
    "ottilie&commat;encoded-5.test",
    "ottilie\uff20encoded-6.test",
]  # fmt: skip

NUMBERS = [
    "+44 20 7946 0991", "+442079460992", "0044 20 7946 0993", "00442079460994", "(020) 7946 0995", "020-7946-0996",
    "020 7946 0997", "+1 (555) 010-9998", "+49.30.5550.1999", "0770 090 0888", "+33 1 99 00 12 34", "+61 491 570 156",
    "0049 151 2350 1234", "(555) 010-7777", "07700-900-666", "+447700900777", "+1.555.010.9990", "0800 0990 099",
]  # fmt: skip

MACHINES = [
    "203.0.113.77", "198.51.100.201", "192.0.2.199", "2001:db8:77::8a2e:370:7334", "2001:db8::beef:77",
    "::ffff:203.0.113.78", "203.0.113.79:8080", "[2001:db8::beef:78]:443", "dev-7f3a9c2b-e0d1", "IMEI-490154203237518",
    "SM-QUAST99/void", "aa:bb:cc:77:88:99", "iPhone von Ottilie", "Mozilla/5.0 (Zebedee OS)",
    "Bartholomew-PC", "pixel-of-xanthe", "ad-id 99-void-77", "cookie=void.77.quast", "ssid:VoidHouse",
]  # fmt: skip

NAMES = [
    "Ottilie Quast", "Bartholomew Wren", "Xanthe Yarrow", "Zebedee Fothergill", "Käthe Müller-Böhm", "O'Hara-Smythe",
    "Jean-Étienne Q.", "Ximénez Ñuñez", "Quast, Ottilie", "Dr. Wren", "Frau Yarrow", "MISS FOTHERGILL", "ottiliechen",
    "wrenny_the_pooh", "Nguyễn Thị Q", "山田花子", "Иванова Отт", "ყიფიანი", "Fothergill Zebedee Jr.", "Tante Ottilie",
]  # fmt: skip

BIRTHDAYS = [
    "1971-03-09", "09/03/1971", "9 March 1971", "March 1971", "born 1971", "1988-02-29T00:00:00Z", "71-03-09",
    "19710309", "turned 55 in spring",
]  # fmt: skip

POSTCODES = [
    "QX9 9ZZ",
    "qx99zz",
    "D-99998",
    "99998 Musterhausen",
    "2099-999",
    "K1Q 9X9",
    "99950-9999",
    "EH99 9ZZ",
    "1099 ZZ",
]

PLACES = [
    "17 Nowhere Lane", "Flat 9, Void House", "Musterstraße 99", "Rue du Néant 3", "51.50740,-0.99990", "Nowhereshire",
    "what3words.void.lane.zero", "PO Box 99999", "Upper Void", "c/o Yarrow, Void House",
]  # fmt: skip

TEXTS = [
    "call me after six, Ottilie", "my knee hurts", "allergic to nuts", "do not tell Bartholomew", "VIP: owner's cousin",
    "gluten-free and shy", "left-handed, size 41", "prefers to be called Zeb", "moved in with Xanthe",
    "Ich bin umgezogen", "complained about Frau Yarrow", "has a dog named Void", "passport C99Z9Z9Z9",
    "IBAN GB99 VOID 9999", "AB 99 99 99 Z", "wedding on 9 September", "widowed since 2019",
    "size 12 shoes, size 14 top", "nickname Quasty", "votes for none", "has moved to the void",
    "4999 9999 9999 9996", "license QUAST 903091", "session=void77zz", "token eyJvoid", "password hunter99",
    "facebook.com/ottilie.quast", "@ottilie_q", "t.me/zebedee99", "skype:live:wrenny", "linkedin.com/in/xanthe-yarrow",
    "https://shop.test/account?name=Ottilie%20Quast&pc=QX9", "https://shop.test/reset#token=void88", "spouse: Wren",
    "income 99,999", "religion: none of it", "weight 99 kg", "salary band Q", "star sign: ophiuchus",
    "loves the void", "signed O. Quast",
]  # fmt: skip

# Those that are known by what they look like, also within a text that is kept for the name of its column.
KNOWN_BY_LOOK = {*ADDRESSES, *NUMBERS, *MACHINES[:8], *(text for text in TEXTS if text.startswith("https:"))}

# Columns, keys and folders may be named like a person, too.
IN_NAMES = [
    "ottilie@in-a-column.test", "ottilie%40in-a-column-2.test", "bartholomew@in-a-key.test", "xanthe@in-a-folder.test",
    "zebedee@in-a-file.test",
]  # fmt: skip

GROUPS: Mapping[str, list[str]] = {
    "contact": ADDRESSES,
    "call": NUMBERS,
    "machine": MACHINES,
    "who": NAMES,
    "b_day": BIRTHDAYS,
    "pc": POSTCODES,
    "lives": PLACES,
    "remark": TEXTS,
}

VALUES = [value for group in GROUPS.values() for value in group]


def objects() -> Iterator[dict[str, object]]:
    """Fields as an account may add them: plain, nested, in a list, under a key; each value comes once in each way."""
    for name, values in GROUPS.items():
        for number, value in enumerate(values):
            yield {
                "event_type": "open",
                name: value,
                f"more_{name}": [value, {"x": value}],
                "payload": {"deep": {name: value, "list": [value]}, "type": "open"},
                "last_event": {"sent_at": "2024-02-03T04:05:06Z", name: value, "status": [{name: value}]},
                "campaign": f"Sale {number}, {value}" if value in KNOWN_BY_LOOK else f"Sale {number}",
            }


def spellings(value: str) -> set[str]:
    """How a value may be found in a file: as it is, as JSON writes it, and an address as a column's name."""
    return {value, json.dumps(value)[1:-1]} | ({snake_case(value)} if value in IN_NAMES else set())


def readable(values: Iterable[str], folders: Iterable[Path], *texts: str) -> list[tuple[str, str]]:
    """The values that can be read below folders, in names and contents of files, or in texts.

    Args:
        values: What to look for.
        folders: Where.
        *texts: Where as well: what was printed.

    Returns:
        Each place with a value that is found there.
    """
    wanted = {spelling.encode().lower(): value for value in values for spelling in spellings(value)}
    places = {f"text {number}": text.encode().lower() for number, text in enumerate(texts)}
    for folder in folders:
        for path in folder.rglob("*"):
            places[str(path)] = str(path.relative_to(folder)).encode().lower()
            if path.is_file():
                places[str(path)] += b"\n" + path.read_bytes().lower()
    return sorted(
        {(place, value) for place, content in places.items() for text, value in wanted.items() if text in content}
    )

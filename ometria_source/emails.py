"""E-mail addresses in texts: plain ones, and those that are written in another way, as in a URL or in HTML."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from urllib.parse import unquote

# What stands between the words of a text. Words around an `@` are taken for an e-mail address.
_SEPARATORS = r"\s<>()\[\]{},;:\"`\\/|"
_WORDS = re.compile(f"[^{_SEPARATORS}]+")

# An address by itself: its local part may hold what separates words in a text (RFC 5322, 3.2.3).
_ADDRESS = re.compile(rf'[^\s<>()\[\],;:"\\@]+(?:@[^{_SEPARATORS}@\'=&?#]+)+')

# A local part in quotes, which may hold separators; of no more than 64 characters (RFC 5321, 4.5.3.1.1).
_QUOTED = re.compile(rf'"[^"\\\r\n]{{1,64}}"@[^{_SEPARATORS}@\'=&?#]+')

# A local part may hold these (RFC 5322, 3.2.3), a domain not.
_ENDS_DOMAIN = re.compile(r"['=&?#]")

# What stands before an address in a URL's query, or in quotes, and is no part of it. A `+` is in no such name.
_BEFORE_ADDRESS = re.compile(r"(?:.*\?|'+|&+)?(?:(?:.*&)?[A-Za-z_][\w.-]*=)?'*", re.DOTALL)

# Other ways to write `@`: in a URL, encoded once, twice or more often; in HTML; in JSON; in full width.
_OTHER_AT = re.compile(r"%(?:25)*40|&#0*64|&#[xX]0*40|&commat;|\\u0040|[\uff20\ufe6b]")

# How often a text may be encoded.
_MOST_LAYERS = 3


def replace_emails(text: str, replace: Callable[[str], str]) -> str:
    """A text with another in the place of each e-mail address, in a time that grows with its length and no faster.

    Args:
        text: Any.
        replace: Gives what shall stand there; also for the blanks around a text that is nothing but an address.
    """
    if "@" not in text:
        return text
    if looks_like_email(text) and not _has_other_words(text.strip()):
        return replace(text)
    if '"@' in text:
        pieces = []
        end = 0
        for found in _QUOTED.finditer(text):
            pieces += [_replace_in_words(text[end : found.start()], replace), replace(found[0])]
            end = found.end()
        return "".join([*pieces, _replace_in_words(text[end:], replace)])
    return _replace_in_words(text, replace)


def replace_encoded_emails(text: str, replace: Callable[[str], str]) -> str:
    """The same, also of addresses that are written in another way; a text that has one is decoded.

    Args:
        text: Any.
        replace: As for `replace_emails`; it is given the address as it is written plainly.
    """
    if _OTHER_AT.search(text) is not None:
        plain = _decoded(text)
        replaced = replace_emails(plain, replace)
        if replaced != plain:
            return replaced
    return replace_emails(text, replace)


def _decoded(text: str) -> str:
    text = text.replace(r"\u0040", "@")
    for _ in range(_MOST_LAYERS):
        text = unquote(html.unescape(text))
    return unicodedata.normalize("NFKC", text)


def _replace_in_words(text: str, replace: Callable[[str], str]) -> str:
    return _WORDS.sub(lambda found: _replace_in_word(found[0], replace), text)


def _replace_in_word(word: str, replace: Callable[[str], str]) -> str:
    """The same in a text without separators, in which two `@` side by side divide."""
    if "@" not in word:
        return word
    first, *others = word.split("@")
    before, local = _divided(first)
    done, address = [before], [local]
    for part in others:
        end = _ENDS_DOMAIN.search(part)
        domain = part[: end.start()] if end else part
        if address[-1] and domain:
            address.append(domain)
            if end is None:
                continue
            done.append(_replaced(address, replace))
            before, local = _divided(part[end.start() :])
        else:
            done += [_replaced(address, replace), "@"]
            before, local = _divided(part)
        done.append(before)
        address = [local]
    return "".join([*done, _replaced(address, replace)])


def _replaced(address: list[str], replace: Callable[[str], str]) -> str:
    """What stands in the place of the parts of an address; of one part, itself."""
    return replace("@".join(address)) if len(address) > 1 else address[0]


def _has_other_words(address: str) -> bool:
    """Whether a part of what may be an address is rather something before it, as in `a/b@c.test`."""
    return not address.startswith('"') and (_WORDS.fullmatch(address) is None or bool(_divided(address)[0]))


def _divided(text: str) -> tuple[str, str]:
    """What may be the first part of an address, with what stands before it."""
    if not text:
        return "", ""
    found = _BEFORE_ADDRESS.match(text)
    end = found.end() if found else 0
    return text[:end], text[end:]


def looks_like_email(text: str) -> bool:
    """Whether a text is an e-mail address and nothing else, but for blanks around it."""
    text = text.strip()
    return _ADDRESS.fullmatch(text) is not None or _QUOTED.fullmatch(text) is not None

"""What may be published of a month's service: groups that are large enough, and lists under pseudonyms.

No group is published that counts fewer than ``count_min`` people or households, and none can be worked out from the
others: what is too small is put together until it is large enough, and where that doesn't help nothing is published.
A list shows each volunteer who consented under a pseudonym of that month, with their community and a range of minutes;
at least ``count_min`` of them look alike in everything but the pseudonym.
"""

import base64
import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple

import msgspec

from domain.figures import Figure

RANGES_MINUTES: Final = (0, 120, 300, 600, 1_200, 2_400)
"""Where each range of minutes begins; it ends before the next one begins, and the last one doesn't end."""
PSEUDONYM_BYTES: Final = 10
TOGETHER: Final = ""
"""The key of what was put together because it is too small by itself."""


class ServiceGiven(NamedTuple):
    """One confirmed and unreversed service record, as far as it is counted."""

    volunteer: str
    recipient_household: str | None
    community: str
    service: str
    minutes: int


class Group(msgspec.Struct, frozen=True):
    """What one group counts: a community, or one kind of service. The key is empty for what was put together."""

    key: str
    volunteers: int
    households_served: int
    service_minutes: int
    service_records: int


class VolunteerServed(NamedTuple):
    """What one volunteer gave in a month; ``community`` is where most of it was, the first by name of several."""

    person: str
    community: str
    minutes: int


class Listed(msgspec.Struct, frozen=True):
    """One row. ``community`` is None where too few are alike in theirs; ``minutes_below`` where the range has no
    end. ``minutes_from`` belongs to the range, ``minutes_below`` doesn't."""

    pseudonym: str
    community: str | None
    minutes_from: int
    minutes_below: int | None

    def sha256(self) -> bytes:
        """The hash by which the seal knows the row: over the JSON array of its four fields, without spaces."""
        return hashlib.sha256(msgspec.json.encode(msgspec.structs.astuple(self))).digest()


def pseudonym(secret: bytes, ledger: str, period: str, person: str) -> str:
    """Somebody's name in the list of a month: HMAC-SHA-256 under the month's own secret, 80 bits of it in base32.

    The secret is random and is kept in the vault: with it anybody can tell whose a pseudonym is, without it nobody.
    """
    message = msgspec.json.encode(("timebank-pseudonym/v1", ledger, period, person))
    digest = hmac.digest(secret, message, "sha256")[:PSEUDONYM_BYTES]
    text = base64.b32encode(digest).decode()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def figure(services: Collection[ServiceGiven]) -> Figure:
    """The figures of all of it, as `domain.figures` defines them."""
    return Figure(
        len({one.recipient_household for one in services if one.recipient_household is not None}),
        sum(one.minutes for one in services),
        len(services),
    )


def volunteers(services: Iterable[ServiceGiven]) -> list[VolunteerServed]:
    """What each volunteer gave, in the order of their numbers."""
    minutes: dict[str, Counter[str]] = {}
    for one in services:
        minutes.setdefault(one.volunteer, Counter())[one.community] += one.minutes
    return [
        VolunteerServed(person, min(places, key=lambda name: (-places[name], name)), places.total())
        for person, places in sorted(minutes.items())
    ]


def is_large_enough(volunteers: int, households_served: int, count_min: int) -> bool:
    """Whether so many people may be published together. Service for no household names no household."""
    return volunteers >= count_min and (households_served == 0 or households_served >= count_min)


def groups(services: Iterable[ServiceGiven], key: Callable[[ServiceGiven], str], count_min: int) -> list[Group]:
    """Groups that may be published, by key, what was put together last; none where even all of it is too small.

    What is too small is put together. Where that is still too small, the smallest of the others goes with it, since
    otherwise it could be worked out from the total.
    """
    by_key: dict[str, list[ServiceGiven]] = {}
    for one in services:
        by_key.setdefault(key(one), []).append(one)
    counted = {name: _group(name, members) for name, members in by_key.items()}

    def fits(group: Group) -> bool:
        return is_large_enough(group.volunteers, group.households_served, count_min)

    shown = sorted(
        (group for group in counted.values() if fits(group)), key=lambda group: (group.volunteers, group.key)
    )
    small = [one for name, members in by_key.items() if not fits(counted[name]) for one in members]
    while small and not fits(_group(TOGETHER, small)):
        if not shown:
            return []
        small += by_key[shown.pop(0).key]
    found = sorted(shown, key=lambda group: group.key)
    return [*found, _group(TOGETHER, small)] if small else found


def _group(key: str, services: Collection[ServiceGiven]) -> Group:
    counted = figure(services)
    people = len({one.volunteer for one in services})
    return Group(key, people, counted.households_served, counted.service_minutes, counted.service_records)


def rows(served: Iterable[VolunteerServed], count_min: int) -> list[Listed]:
    """The list of those who consented and whose ``person`` is their pseudonym, in the order of the pseudonyms.

    Where too few are alike, they are listed without their community; where too few are alike even so, not at all.
    """
    whole = [Listed(one.person, one.community, *_range(one.minutes)) for one in served]
    alike = _alike(whole)
    shown = [row for row in whole if alike[_look(row)] >= count_min]
    without = [msgspec.structs.replace(row, community=None) for row in whole if alike[_look(row)] < count_min]
    return sorted((*shown, *large_enough(without, count_min)), key=lambda row: row.pseudonym)


def large_enough(listed: Collection[Listed], count_min: int) -> list[Listed]:
    """The rows of which so many look alike: what is left of a list once some have withdrawn their consent."""
    alike = _alike(listed)
    return [row for row in listed if alike[_look(row)] >= count_min]


def list_sha256(hashes: Iterable[bytes]) -> str:
    """The hash of a list: over the hashes of its rows, in the order of their bytes.

    So a row can be left out later, as its hash alone, and the rest is still the list that was sealed.
    """
    return hashlib.sha256(b"".join(sorted(hashes))).hexdigest()


def _range(minutes: int) -> tuple[int, int | None]:
    begins = max(begin for begin in RANGES_MINUTES if begin <= minutes)
    later = [begin for begin in RANGES_MINUTES if begin > minutes]
    return begins, later[0] if later else None


def _look(row: Listed) -> tuple[str | None, int]:
    return row.community, row.minutes_from


def _alike(listed: Iterable[Listed]) -> Counter[tuple[str | None, int]]:
    return Counter(map(_look, listed))

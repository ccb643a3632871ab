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
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Self

import msgspec

from domain.figures import Counted, Figure

RANGES_MINUTES: Final = (0, 120, 300, 600, 1_200, 2_400)
"""Where each range of minutes begins; it ends before the next one begins, and the last one doesn't end."""
PSEUDONYM_BYTES: Final = 10


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


class Cell(Counted):
    """What some records come to, with those who gave the service."""

    __slots__ = ("volunteers",)

    def __init__(self) -> None:
        super().__init__()
        self.volunteers: set[str] = set()

    def add(self, other: Self) -> None:
        super().add(other)
        self.volunteers |= other.volunteers

    def fits(self, count_min: int) -> bool:
        """Whether it may be published."""
        return is_large_enough(len(self.volunteers), len(self.households), count_min)


def put_together(cells: Mapping[tuple[str, ...], Cell], count_min: int) -> dict[tuple[str, ...], Cell]:
    """The cells that may be published, by their paths, such as a community and its grids down to some level.

    What is too small is put together with what belongs to the place above it and no further down, whose path it then
    has; the empty one, that of the whole, comes last. Where that is still too small, the smallest of the others goes
    with it, since otherwise it could be worked out from the sum, which is a cell of the level above. None where even
    all of it is too small.
    """
    return _put_together((), list(cells.items()), count_min)


def _put_together(
    path: tuple[str, ...], cells: Sequence[tuple[tuple[str, ...], Cell]], count_min: int
) -> dict[tuple[str, ...], Cell]:
    rest = Cell()
    below: dict[tuple[str, ...], list[tuple[tuple[str, ...], Cell]]] = {}
    for each, counted in cells:
        if each == path:
            rest.add(counted)
        else:
            below.setdefault(each[: len(path) + 1], []).append((each, counted))
    sums: dict[tuple[str, ...], Cell] = {}
    for name, members in below.items():
        sums[name] = Cell()
        for _, counted in members:
            sums[name].add(counted)
    shown = sorted(
        (name for name, whole in sums.items() if whole.fits(count_min)),
        key=lambda name: (len(sums[name].volunteers), name),
    )
    for name in sums.keys() - set(shown):
        rest.add(sums[name])
    while rest.records and not rest.fits(count_min):
        if not shown:
            return {}
        rest.add(sums[shown.pop(0)])
    found: dict[tuple[str, ...], Cell] = {}
    for name in sorted(shown):
        found |= _put_together(name, below[name], count_min)
    return found | {path: rest} if rest.records else found


def groups(services: Iterable[ServiceGiven], key: Callable[[ServiceGiven], str], count_min: int) -> list[Group]:
    """Groups that may be published, by key, what was put together last; none where even all of it is too small."""
    cells: dict[tuple[str, ...], Cell] = {}
    for one in services:
        counted = cells.setdefault((key(one),), Cell())
        counted.volunteers.add(one.volunteer)
        if one.recipient_household is not None:
            counted.households.add(one.recipient_household)
        counted.service_minutes += one.minutes
        counted.records += 1
    return [
        Group("".join(path), len(one.volunteers), len(one.households), one.service_minutes, one.records)
        for path, one in put_together(cells, count_min).items()
    ]


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

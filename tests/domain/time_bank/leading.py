"""What all rules of the machine draw from: who acts, how much, and which of the things there are."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from hypothesis import strategies as st

from domain.decision import Actor
from tests.controls import JINHU, TIME, XINZHU
from tests.domain.time_bank.books import Ledger

T = TypeVar("T")

ADMIN, OTHER_ADMIN, THIRD_ADMIN = (Actor(person, "admin") for person in ("A1", "A2", "A3"))
JUDGE = Actor("S8", "staff")
OFFICE, OTHER_OFFICE = Actor("S1", "staff", XINZHU), Actor("S9", "staff", JINHU)
OUTSIDERS = (ADMIN, OTHER_ADMIN, THIRD_ADMIN, JUDGE)
"""Who may do nearly everything, and belongs to no household."""
STRANGERS = (
    *(OFFICE, OTHER_OFFICE, Actor("P1", "volunteer"), Actor("P3", "volunteer"), Actor("P4", "volunteer")),
    *(Actor("P1", "admin"), Actor("P2", "staff", XINZHU), Actor("P3", "staff", JINHU)),
)
"""Who is often the wrong one: bound to a community, or to a household."""
STAFF = st.sampled_from([*OUTSIDERS * 8, *STRANGERS])
"""Somebody who gives a command: mostly one who may."""
BY_TIME = st.sampled_from([TIME] * 9 + [ADMIN])
"""Who gives what time alone makes due."""
INDEX = st.integers(0, 30)
"""Which of the things there are, the newest first; see `pick`."""
RIGHT = st.sampled_from([True] * 7 + [False])
"""Whether something is as it should be."""
AMOUNT = st.integers(1, 40) | st.sampled_from([60, 200])
LEDGERS = st.sampled_from(["here", "here", "here", "there"])


def pick(things: Sequence[T], index: int) -> T:
    """One of them, the newest for 0."""
    return things[-1 - index % len(things)]


def member(person: str) -> Actor:
    return Actor(person, "volunteer")


class Leading:
    """What the rules of every concept find: the ledger that is led, its clock, and some short names."""

    here: Ledger | Any
    now: datetime

    def somebody(self, index: int) -> str:
        """A person who lives in a household."""
        people = [person for person, home in self.here.home.items() if home is not None]
        return pick(people, index) if people else "P1"

    def household(self, index: int) -> str:
        """Mostly one that is open."""
        stands = [household for household in self.here.households if household not in self.here.heirs]
        everyone = list(self.here.households)
        return pick(stands, index) if stands and index % 8 != 7 else pick(everyone, index)

    def community(self, index: int) -> str:
        """Mostly one that is still there."""
        stands = [community for community in self.here.communities if community not in self.here.dissolved]
        return pick(stands if index % 8 != 7 else list(self.here.communities), index)

    def wait(self, **how_long: int) -> None:
        self.now += timedelta(**how_long)

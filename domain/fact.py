"""What every fact has in common: its stable type name, its tags, and the envelope it is stored in."""

from datetime import datetime
from typing import ClassVar, Generic, TypeVar

import msgspec


class Fact(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """Something that happened. Never edited, never deleted; undone only by another fact.

    ``type`` is the stored name with its version, never a Python path. ``tags`` are what decisions find the
    fact by; they derive from the fact alone, so that an auditor can derive them again.
    """

    type: ClassVar[str]

    def tags(self) -> tuple[str, ...]:
        raise NotImplementedError(f"{type(self).__name__} must name its tags")


class Movement(Fact, frozen=True, omit_defaults=True, gc=False):
    """A fact that moves time: one fact names source, target and minutes, so that none can be lost between two.

    ``minutes`` is a whole number, never negative. Accounts are ``household:…``, ``pool:…`` and ``issuance``.
    """

    source: str
    target: str
    minutes: int


F = TypeVar("F")


class Envelope(msgspec.Struct, Generic[F], frozen=True, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """A fact with who decided it, for which command, when, and under which policy version.

    ``policy`` is 0 where no rule of the policy was read. ``decided_at`` is the clock of the deciding process;
    the time that counts as *recorded* is the journal's own column, given under its lock. ``imported`` marks what was
    brought in from older books.
    """

    id: str
    actor: str
    role: str
    command: str
    digest: str
    policy: int
    decided_at: datetime
    fact: F
    imported: bool = False

    def tags(self) -> list[str]:
        """The stored tags: the fact's own and its command's."""
        return [*self.fact.tags(), "command:" + self.command]  # type: ignore[attr-defined]


class Recorded(msgspec.Struct, Generic[F], frozen=True, gc=False):
    """An envelope as the journal holds it. ``recorded_at_microseconds`` counts from the Unix epoch."""

    position: int
    recorded_at_microseconds: int
    envelope: Envelope[F]


class Tagged(Recorded[F], frozen=True, gc=False):
    """A recorded fact with the tags that are stored beside it, which should be those that derive from it."""

    tags: list[str]

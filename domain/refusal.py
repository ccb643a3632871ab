"""Refusals: why a command was not turned into facts.

Refusal
├── Unknown      what the command names does not exist
├── NotAllowed   this actor may not do it (scope, separation of duties)
├── AlreadyDone  it was done before, or the other way
└── AgainstRule  the policy or the command's own data forbid it

One class per rule, carrying the facts that a person needs to understand it. The text is told in Chinese
and English; what a refusal means on the wire is the API's business.
"""

from dataclasses import asdict, dataclass, fields
from typing import ClassVar


@dataclass(unsafe_hash=True)
class Refusal(Exception):
    """A command that the rules refuse. Nothing was recorded."""

    zh: ClassVar[str]
    en: ClassVar[str]

    @property
    def code(self) -> str:
        """The rule's stable name, such as ``record-overlaps``."""
        name = type(self).__name__
        return "".join("-" + c.lower() if c.isupper() else c for c in name).lstrip("-")

    @property
    def facts(self) -> dict[str, object]:
        """What the rule was decided on, by name."""
        return asdict(self)

    @property
    def message_zh(self) -> str:
        return self.zh.format(**self.facts)

    @property
    def message_en(self) -> str:
        return self.en.format(**self.facts)

    def __str__(self) -> str:
        return f"{self.message_zh} / {self.message_en}"

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), tuple(getattr(self, field.name) for field in fields(self)))


class Unknown(Refusal):
    """What the command names does not exist in this ledger."""


class NotAllowed(Refusal):
    """This actor may not do it."""


class AlreadyDone(Refusal):
    """It was done before, or settled the other way."""


class AgainstRule(Refusal):
    """A rule of the policy, or of the ledger itself, forbids it."""


def all_refusals(root: type[Refusal] = Refusal) -> list[type[Refusal]]:
    """Every rule's class, in the order of definition: for the documentation and the API's error list."""
    kinds = (Refusal, Unknown, NotAllowed, AlreadyDone, AgainstRule)
    found = [root] if root not in kinds else []
    for child in root.__subclasses__():
        found += all_refusals(child)
    return found

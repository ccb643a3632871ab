"""The list of every fact type there is, by its stored name: whatever the concepts' modules define."""

from types import ModuleType
from typing import Final

from domain import (
    account,
    certificate,
    community,
    consent,
    desk,
    disclosure,
    dispute,
    evidence,
    expiry,
    grant,
    group,
    hours,
    household,
    inspection,
    ledger,
    opening,
    partner,
    policy,
    recognition,
    redemption,
    request,
    sheet,
    statement,
    transfer,
    visit,
)
from domain.fact import Fact, Movement

CONCEPTS: Final[tuple[ModuleType, ...]] = (
    ledger,
    policy,
    community,
    household,
    hours,
    account,
    request,
    evidence,
    visit,
    sheet,
    desk,
    dispute,
    partner,
    redemption,
    statement,
    transfer,
    group,
    grant,
    opening,
    expiry,
    recognition,
    certificate,
    consent,
    disclosure,
    inspection,
)


def _facts_of(module: ModuleType) -> list[type[Fact]]:
    """The facts that a module itself defines, in the order of definition."""
    return [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, Fact)
        and kind not in (Fact, Movement)
        and kind.__module__ == module.__name__
    ]


FACTS: Final[dict[str, type[Fact]]] = {fact.type: fact for module in CONCEPTS for fact in _facts_of(module)}

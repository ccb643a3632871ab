"""A bundle verified, beside the plain-text accounting tools that load its journals with all of their assertions."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Literal

from api.bundle import export
from benchmarks.bench import District, rounded
from benchmarks.process import Taken, taken_by
from domain.plain_journal import BEANCOUNT, HLEDGER, LEDGER
from infrastructure.signing import create_key

ROUNDS = 3
BIN = Path(sys.executable).parent
VERIFY = (str(BIN / "timebank"), "audit", "verify", "--json")

CHECKS: dict[str, tuple[str, ...]] = {
    "proof, fold and figures": ("--without-rules", "--without-journals"),
    "proof, fold, figures and rules": ("--without-journals",),
    "proof, fold, figures and journals": ("--without-rules",),
    "proof, fold, figures, rules and journals": (),
}
"""What is verified, and how that is asked for."""
PEERS: dict[str, tuple[str, tuple[str, ...]]] = {
    LEDGER: ("apt-get install ledger", ("ledger", "--pedantic", "--strict", "balance", "--file")),
    # Every assertion is checked whatever it is asked for; its checks of names and of the order of days take far longer.
    HLEDGER: ("apt-get install hledger", ("hledger", "check", "balancednoautoconversion", "-f")),
    # It would read what it kept of the round before.
    BEANCOUNT: ("pip install beancount", (str(BIN / "bean-check"), "--no-cache")),
}
"""How each is had and run, by the journal that it reads."""


def measure(of: District) -> Iterator[dict[str, object]]:
    """`audit`, with ever more that is checked, up to every rule decided again.

    All are programs that are started anew each round, and theirs are the seconds from start to end. The peers check
    what movements do to the balances, which is the least of what a verification does.
    """
    directory = of.directory / "bundle"
    with of.bank() as bank:
        create_key(bank.settings.data, bank.name)
        manifest = export(bank, directory, None)
    commands = {checks: (*VERIFY, *options, str(directory)) for checks, options in CHECKS.items()}
    missing = []
    for journal, (how, peer) in PEERS.items():
        if shutil.which(peer[0]) is None:
            missing.append(f"{peer[0]} ({how})")
        else:
            commands[_name(peer[0])] = (*peer, str(directory / journal))
    taken: dict[str, list[Taken]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            taken[name].append(taken_by(*command))
    for checks in CHECKS:
        own = taken.pop(checks)
        seconds = _seconds(own)
        record: dict[str, object] = {
            "benchmark": "audit",
            "checks": checks,
            "facts": manifest.size,
            "seconds": seconds,
            "peak_memory_mb": _most(own, "peak_memory_mb"),
            "peak_memory_of_all_mb": _most(own, "peak_memory_of_all_mb"),
        }
        for name, each in taken.items():
            if name not in CHECKS:
                record[f"{name}_seconds"] = _seconds(each)
                record[f"{name}_peak_memory_mb"] = _most(each, "peak_memory_mb")
                record[f"ratio_to_{name}"] = rounded(_seconds(each) / seconds)
        if missing:
            record["missing"] = ", ".join(missing)
        yield record


def _name(program: str) -> str:
    return Path(program).name.replace("-", "_")


def _seconds(rounds: list[Taken]) -> float:
    return median(one["seconds"] for one in rounds)


def _most(rounds: list[Taken], of: Literal["peak_memory_mb", "peak_memory_of_all_mb"]) -> int:
    return max(one[of] for one in rounds)

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
VERIFY = (BIN / "timebank", "audit", "verify", "--json")

PEERS: dict[str, tuple[str, tuple[str, ...]]] = {
    LEDGER: ("apt-get install ledger", ("ledger", "--pedantic", "--strict", "balance", "--file")),
    HLEDGER: (
        "apt-get install hledger",
        ("hledger", "check", "balancednoautoconversion", "accounts", "commodities", "ordereddates", "-f"),
    ),
    # It would read what it kept of the round before.
    BEANCOUNT: ("pip install beancount", (str(BIN / "bean-check"), "--no-cache")),
}
"""How each is had and run, by the journal that it reads."""


def measure(of: District) -> Iterator[dict[str, object]]:
    """`audit`, first without and then with every rule decided again; both check the plain-text journals as well.

    All are programs that are started anew each round, and theirs are the seconds from start to end. The peers check
    what each movement does to the balances, which is the least of what a verification does.
    """
    directory = of.directory / "bundle"
    with of.bank() as bank:
        create_key(bank.settings.data, bank.name)
        manifest = export(bank, directory, None)
    missing = [f"{command[0]} ({how})" for how, command in PEERS.values() if shutil.which(command[0]) is None]
    commands: dict[str, tuple[object, ...]] = {
        "without_rules": (*VERIFY, "--without-rules", directory),
        "with_rules": (*VERIFY, directory),
    }
    for journal, (_, peer) in PEERS.items():
        if shutil.which(peer[0]) is not None:
            commands[Path(peer[0]).name.replace("-", "_")] = (*peer, directory / journal)
    taken: dict[str, list[Taken]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            taken[name].append(taken_by(*command))
    peers = {name: each for name, each in taken.items() if name not in ("without_rules", "with_rules")}
    for mode in ("without_rules", "with_rules"):
        seconds = _seconds(taken[mode])
        record: dict[str, object] = {
            "benchmark": "audit",
            "rules": mode == "with_rules",
            "facts": manifest.size,
            "seconds": seconds,
            "peak_memory_mb": _most(taken[mode], "peak_memory_mb"),
            "peak_memory_of_all_mb": _most(taken[mode], "peak_memory_of_all_mb"),
        }
        for name, each in peers.items():
            record[f"{name}_seconds"] = _seconds(each)
            record[f"{name}_peak_memory_mb"] = _most(each, "peak_memory_mb")
        for name, each in peers.items():
            record[f"times_as_fast_as_{name}"] = rounded(_seconds(each) / seconds)
        if missing:
            record["missing"] = ", ".join(missing)
        yield record


def _seconds(rounds: list[Taken]) -> float:
    return median(one["seconds"] for one in rounds)


def _most(rounds: list[Taken], of: Literal["peak_memory_mb", "peak_memory_of_all_mb"]) -> int:
    return max(one[of] for one in rounds)

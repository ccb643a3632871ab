"""A district's whole history: imported from its files, replayed, and folded anew into the projections."""

import contextlib
import time
from collections.abc import Iterator
from statistics import median

import psycopg
from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent

from api.wiring import Timebank
from application.replay import replay
from benchmarks.append import bare_copy_writer
from benchmarks.bench import District, import_all, peak_memory_mb, per_second, rounded
from infrastructure.embedded import EmbeddedPostgres

ROUNDS = 3


def measure_import(of: District) -> Iterator[dict[str, object]]:
    """`import`: the sample's records, from file to facts, beside bare COPY of the same rows into a bare table.

    Imported once, since the district is wanted once; the peer's median is of three.
    """
    with of.bank() as bank:
        speed = import_all(bank, of.files())
        facts = bank.store.head()
        copied = median(_bare_copy(bank, of.server) for _ in range(ROUNDS))
    yield {
        "benchmark": "import",
        "facts": facts,
        "facts_per_second": rounded(speed),
        "bare_copy_facts_per_second": rounded(copied),
        "ratio_to_bare_copy": rounded(speed / copied),
        "peak_memory_mb": peak_memory_mb(),
    }


def _bare_copy(bank: Timebank, server: EmbeddedPostgres) -> float:
    """The same facts, packed while the clock runs, by COPY into a table without index, trigger or condition.

    A COPY takes a thousand facts, so that no more than that is ever in memory, as in the import.
    """
    with bare_copy_writer(server.url) as write:
        seconds, position = 0.0, 0
        for facts in bank.store.journal.scan(batch=1_000):
            events = [DCBEvent(fact.type, fact.data, fact.tags) for fact in facts]
            started = time.perf_counter()
            position = write(events, DCBAppendCondition(after=position))
            seconds += time.perf_counter() - started
    return position / seconds


def measure_folding(of: District) -> Iterator[dict[str, object]]:
    """`replay` and `rebuild` of the whole journal, beside reading every row of it in order and decoding nothing."""
    with of.bank() as bank:
        facts = bank.store.head()
        replayed, rebuilt, read = [], [], []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            replay(bank.store)
            replayed.append(per_second(facts, started))
            with contextlib.closing(bank.projector()) as projector:
                started = time.perf_counter()
                projector.rebuild()
                rebuilt.append(per_second(facts, started))
            read.append(_read_all(bank.address, bank.name))
    for name, speeds in (("replay", replayed), ("rebuild", rebuilt)):
        yield {
            "benchmark": name,
            "facts": facts,
            "facts_per_second": rounded(median(speeds)),
            "reading_facts_per_second": rounded(median(read)),
            "ratio_to_reading": rounded(median(speeds) / median(read)),
            "peak_memory_mb": peak_memory_mb(),
        }


def _read_all(address: str, ledger: str) -> float:
    """Every column of every fact in order, by COPY, as rows of bytes that nobody looks into."""
    started = time.perf_counter()
    count = 0
    with psycopg.connect(address) as connection, connection.cursor() as cursor:
        statement = "COPY (SELECT * FROM facts WHERE ledger = %s ORDER BY position) TO STDOUT"
        with cursor.copy(statement, (ledger,)) as copy:
            for _ in copy:
                count += 1
    return per_second(count, started)

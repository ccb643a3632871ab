"""Appending facts: the journal beside the library's own recorder and beside binary COPY into a table without any index.

    python -m benchmarks.append postgresql:///?host=/run/postgresql

prints one JSON line a batch size. All write the same facts to the same server in the same run, turn by turn in
databases of their own, and every batch is one durable commit. Each starts from the same facts in memory and packs its
rows while the clock runs.

The journal and the library append as the write loop does: each batch under a condition, here that nothing recorded
since the batch before has the command id of one of its facts. Without a condition the library takes no lock, so that
other appends' conditions can't be relied upon; that easier work's figure is `library_unconditioned_…`.
Bare COPY is one COPY a batch: one COPY for everything would also measure how seldom it waits for the disk. Peak memory
is this process's.
"""

import json
import random
import resource
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median
from uuid import UUID

import psycopg
from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent, DCBQuery, DCBQueryItem
from eventsourcing.dcb.postgres_tt import PostgresDCBRecorderTT
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from infrastructure.journal import PostgresJournal, open_datastore
from infrastructure.schema import migrate
from infrastructure.tag_index import TagIndexThread

ROUNDS = 3
FACTS_PER_ROUND = {1: 300, 10: 2_000, 100: 10_000, 1_000: 20_000}  # by batch size; a second's work at most
BARE_TABLE = (
    "CREATE TABLE bare (ledger text, position bigint, recorded_at timestamptz, type text, tags text[], data bytea)"
)

Append = Callable[[Sequence[DCBEvent], DCBAppendCondition], int]


def main() -> None:
    server_url = sys.argv[1]
    for record in measure(server_url):
        print(json.dumps(record), flush=True)


def measure(server_url: str) -> Iterator[dict[str, object]]:
    """One record a batch size, from new databases on the server that are dropped afterwards."""
    with ExitStack() as stack:
        writers: dict[str, Append] = {
            "journal": stack.enter_context(journal_writer(server_url)),
            "library": stack.enter_context(library_writer(server_url)),
            "library_unconditioned": stack.enter_context(library_writer(server_url, conditioned=False)),
            "bare_copy": stack.enter_context(bare_copy_writer(server_url)),
        }
        heads = dict.fromkeys(writers, 0)
        dice = random.Random(7)  # noqa: S311 -- sample data
        for batch, total in FACTS_PER_ROUND.items():
            speeds: dict[str, list[float]] = {name: [] for name in writers}
            for _ in range(ROUNDS):
                batches = [[sample_fact(dice) for _ in range(batch)] for _ in range(total // batch)]
                queries = [DCBQuery([DCBQueryItem(tags=event.tags[-1:]) for event in events]) for events in batches]
                for name, append in writers.items():
                    started = time.perf_counter()
                    for events, query in zip(batches, queries, strict=True):
                        heads[name] = append(events, DCBAppendCondition(query, after=heads[name]))
                    speeds[name].append(total / (time.perf_counter() - started))
            medians = {name: median(measured) for name, measured in speeds.items()}
            journal = medians["journal"]
            yield {
                "benchmark": "append",
                "batch": batch,
                **{f"{name}_facts_per_second": round(speed) for name, speed in medians.items()},
                **{f"ratio_to_{name}": round(journal / medians[name], 2) for name in writers if name != "journal"},
                "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            }


def sample_fact(dice: random.Random) -> DCBEvent:
    """Shaped like confirmed hours: four tags and 450 bytes."""
    day = f"2026-{dice.randrange(1, 13):02}-{dice.randrange(1, 29):02}"
    return DCBEvent(
        type="hours-confirmed.v1",
        tags=[
            f"record:{UUID(int=time.time_ns() // 1_000_000 << 80 | dice.getrandbits(80))}",
            f"day:V{dice.randrange(4_000):04}:{day}",
            f"account:household:H{dice.randrange(6_000):05}",
            f"command:{dice.getrandbits(128):032x}",
        ],
        data=dice.randbytes(225).hex().encode(),
    )


@contextmanager
def journal_writer(server_url: str) -> Iterator[Append]:
    with new_database(server_url, "timebank_bench_journal") as url:
        migrate(url)
        with open_datastore(url) as datastore:
            journal = PostgresJournal(datastore, "bench")
            with TagIndexThread(url, journal):
                yield journal.append


@contextmanager
def library_writer(server_url: str, conditioned: bool = True) -> Iterator[Append]:
    name = f"timebank_bench_library_{conditioned}".lower()
    with new_database(server_url, name) as url, open_datastore(url) as datastore:
        recorder = PostgresDCBRecorderTT(datastore)
        recorder.create_table()
        yield recorder.append if conditioned else lambda events, _: recorder.append(events)


@contextmanager
def bare_copy_writer(server_url: str) -> Iterator[Append]:
    with new_database(server_url, "timebank_bench_bare") as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute(BARE_TABLE)

        def copy(events: Sequence[DCBEvent], condition: DCBAppendCondition) -> int:
            after = condition.after or 0
            with connection.cursor().copy("COPY bare FROM STDIN (FORMAT BINARY)") as writing:
                writing.write(pack_for_copy(events, after + 1))
            return after + len(events)

        yield copy


def pack_for_copy(events: Sequence[DCBEvent], first_position: int) -> bytes:
    """A whole binary COPY of the six columns."""
    parts = [b"PGCOPY\n\xff\r\n\0" + bytes(8)]
    for position, event in enumerate(events, first_position):
        type_ = event.type.encode()
        tags = [struct.pack("!5i", 1, 0, 25, len(event.tags), 1)]
        for tag in event.tags:
            encoded = tag.encode()
            tags += len(encoded).to_bytes(4, "big"), encoded
        packed_tags = b"".join(tags)
        parts += (
            struct.pack("!hi5siqiqi", 6, 5, b"bench", 8, position, 8, 0, len(type_)),
            type_,
            len(packed_tags).to_bytes(4, "big"),
            packed_tags,
            len(event.data).to_bytes(4, "big"),
            event.data,
        )
    parts.append(b"\xff\xff")
    return b"".join(parts)


@contextmanager
def new_database(server_url: str, name: str) -> Iterator[str]:
    """A database of that name, new, and dropped in the end."""
    drop = SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name))
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(drop)
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        try:
            yield make_conninfo(server_url, dbname=name)
        finally:
            connection.execute(drop)


if __name__ == "__main__":
    main()

"""The service over HTTP: durable POSTs of hours, and balances read, beside requests that do nothing."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from benchmarks.bench import CONNECTIONS, District, load, peak_memory_mb, pgbench_per_second, rounded, service, wrk

ROUNDS = 3


def measure(of: District) -> Iterator[dict[str, object]]:
    """`http_log` and `balance_get`. Without wrk it says what is missing."""
    if wrk() is None:
        yield {"benchmark": "http_log", "missing": "wrk (Debian: apt-get install wrk)"}
        yield {"benchmark": "balance_get", "missing": "wrk (Debian: apt-get install wrk)"}
        return
    summary = json.loads((of.directory / "sample" / "sample.json").read_text())["summary"]
    seconds = of.size.seconds
    with of.bank() as bank:
        token = of.token(bank, "BENCH", "admin")
    logged, nothing, pgbench, read, got_nothing = [], [], [], [], []
    with service(of) as (url, pid):
        for number in range(ROUNDS):
            # Every round has days of its own, behind those of `write_loop`, so that no records overlap or fill a day.
            days = [str(datetime.now(UTC).date() - timedelta(days=11 + number * 4 + day)) for day in range(4)]
            arguments = (token, str(summary["volunteers"]), f"round{number}", *days)
            logged.append(load(f"{url}/v1/hours", seconds, "log_hours.lua", arguments))
            nothing.append(load(f"{url}/nothing", seconds, "do_nothing.lua"))
            pgbench.append(pgbench_per_second(of.server, seconds))
            households = str(summary["households"])
            read.append(load(f"{url}/v1/households", seconds, "read_balance.lua", (token, households)))
            got_nothing.append(load(f"{url}/nothing", seconds))
        memory = peak_memory_mb(pid)
    posts, noops = (sorted(x, key=lambda one: one.per_second)[ROUNDS // 2] for x in (logged, nothing))
    tps = sorted(pgbench)[ROUNDS // 2]
    yield {
        "benchmark": "http_log",
        "connections": CONNECTIONS,
        "posts_per_second": rounded(posts.per_second),
        "posts_p99_milliseconds": posts.p99_milliseconds,
        "posts_failed": sum(one.failed for one in logged),
        "noop_posts_per_second": rounded(noops.per_second),
        "pgbench_per_second": rounded(tps),
        "ratio_to_noop": rounded(posts.per_second / noops.per_second),
        "ratio_to_pgbench": rounded(posts.per_second / tps),
        "peak_memory_mb": memory,
    }
    gets, noops = (sorted(x, key=lambda one: one.per_second)[ROUNDS // 2] for x in (read, got_nothing))
    yield {
        "benchmark": "balance_get",
        "connections": CONNECTIONS,
        "gets_per_second": rounded(gets.per_second),
        "gets_p99_milliseconds": gets.p99_milliseconds,
        "gets_failed": sum(one.failed for one in read),
        "noop_gets_per_second": rounded(noops.per_second),
        "noop_p99_milliseconds": noops.p99_milliseconds,
        "ratio_to_noop": rounded(gets.per_second / noops.per_second),
        "peak_memory_mb": memory,
    }

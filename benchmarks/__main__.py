"""Run the benchmarks: one JSON line each, and all of them in benchmarks/results.json.

    python -m benchmarks [--short] [NAME ...]

Each has its peers in the same run, on the same embedded PostgreSQL. ``--short`` takes a small district and a second a
round: it shows that everything runs, and its figures mean nothing.
"""

import argparse
import gc
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from api.collector import spare_the_collector
from benchmarks import append, audit, history, http, write_loop
from benchmarks.bench import FULL, SHORT, District, district

RESULTS = Path(__file__).with_name("results.json")

BENCHMARKS: dict[str, Callable[[District], Iterator[dict[str, object]]]] = {
    "append": lambda of: append.measure(of.server.url),
    "import": history.measure_import,
    "replay": history.measure_folding,
    "audit": audit.measure,
    "write_loop": write_loop.measure,
    "http_log": http.measure,
}
"""In this order: what comes after `import` runs on what it imported, and `audit` on nothing else. `replay` also
rebuilds, `http_log` also reads."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which to run, of {chr(44).join(BENCHMARKS)}; all if left out")
    parser.add_argument("--short", action="store_true")
    given = parser.parse_args()
    names = given.names or list(BENCHMARKS)
    size = SHORT if given.short else FULL
    records = []
    with tempfile.TemporaryDirectory(prefix="timebank-bench-") as directory, district(size, Path(directory)) as of:
        for name, measure in BENCHMARKS.items():
            needed = name == "import" and set(names) & {"replay", "audit", "write_loop", "http_log"}
            if name not in names and not needed:
                continue
            # Each starts as a program of its own would: what the one before it left behind is not its to walk over.
            gc.collect()
            spare_the_collector()
            for record in measure(of):
                print(json.dumps(record), flush=True)
                records.append(record)
    if not given.short and not given.names:
        about = {
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "processor_count": os.cpu_count(),
            "results": records,
        }
        RESULTS.write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main()

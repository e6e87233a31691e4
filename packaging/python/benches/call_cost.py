"""What a status call costs the pipeline, beside an append to a list in the same run.

    python benches/call_cost.py BINARY [--calls 200000]

Three arms in turns, five rounds: a list append with the same values, ``batch_update_job_status``
with the server there, and the same while the server is away (with a spill directory). Each call is
timed by itself; the cost of the timing is in all arms alike.
"""

from __future__ import annotations

import argparse
import json
import logging
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from jobslate import BatchJobStatusUpdater, Client

ROUNDS = 5
Call = Callable[[str, str, str], object]


def main() -> None:
    """Prints the table; the last line is the same as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", type=Path)
    parser.add_argument("--calls", type=int, default=200_000, help="in each round of each arm")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        report(measure(options.binary, Path(folder), options.calls), options.calls)


def measure(binary: Path, folder: Path, calls: int) -> dict[str, list[int]]:
    """The nanoseconds of each call, by arm."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [str(binary), "serve", "--listen", address, "--data-dir", str(folder / "d")]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://{address}"
    while not Client(url).is_ready():
        assert server.poll() is None, "the server did not start"
        time.sleep(0.05)
    room = 10 * calls
    there = BatchJobStatusUpdater(url, queue_updates_max=room)
    # Nobody listens at the discard port.
    away = BatchJobStatusUpdater(
        "http://127.0.0.1:9", spill_path=folder / "spill", queue_updates_max=room
    )
    kept: list[tuple[str, str, str]] = []

    def append(job_id: str, status: str, error: str) -> None:
        kept.append((job_id, status, error))

    arms: dict[str, Call] = {
        "list append": append,
        "server there": there.batch_update_job_status,
        "server away": away.batch_update_job_status,
    }
    costs: dict[str, list[int]] = {name: [] for name in arms}
    for _ in range(ROUNDS):
        for name, call in arms.items():
            costs[name] += timed(call, calls)
            there.flush_job_status_updates()
        kept.clear()
    stats = there.get_batch_update_stats()
    assert stats["stored"] == ROUNDS * calls, stats
    waiting = away.get_batch_update_stats()
    assert waiting["queue_full"] == waiting["lost"] == 0, waiting
    away.stop(0.1)
    there.stop()
    server.kill()
    server.wait()
    return costs


def timed(call: Call, calls: int) -> list[int]:
    """The nanoseconds of each call, as a pipeline makes them: other jobs, some with an error."""
    clock = time.perf_counter_ns
    costs = []
    for number in range(calls):
        job_id = f"document-{number % 4_000:05}"
        began_at = clock()
        call(job_id, "error", "ocr timed out")
        costs.append(clock() - began_at)
    return costs


def report(costs: dict[str, list[int]], calls: int) -> None:
    """Prints the medians and the tails."""
    print(f"{ROUNDS} rounds of {calls} calls, microseconds for one")
    print(f"{'':14}{'median':>9}{'p99':>9}{'p99.9':>9}{'mean':>9}")
    medians = {}
    for name, values in costs.items():
        values.sort()
        medians[name] = statistics.median(values) / 1_000
        at = [values[int(len(values) * part)] / 1_000 for part in (0.99, 0.999)]
        mean = statistics.fmean(values) / 1_000
        print(f"{name:14}{medians[name]:9.2f}{at[0]:9.2f}{at[1]:9.2f}{mean:9.2f}")
    print(json.dumps({"median_us": medians}))


if __name__ == "__main__":
    main()

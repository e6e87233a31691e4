"""A pipeline of many processes and threads for the proof: it can be stopped, and goes on there.

    pipeline.py URL SPILL PROGRESS STATS PROCESSES THREADS UPDATES PAUSE_S STOP_S

Each thread reports ``UPDATES`` updates of ten jobs of its own; the error of an update says which
process, thread and number it is. ``PROGRESS`` holds how many calls each thread has made. At SIGTERM
each thread ends after its present call, and the process ends as any other does. At its end it waits
``STOP_S`` for the server.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import struct
import sys
import threading

from jobslate import BatchJobStatusUpdater

JOBS_PER_THREAD = 10
STATUSES = ("queued", "processing", "error", "processing", "completed")


def main() -> None:
    url, spill, progress, stats = sys.argv[1:5]
    processes, threads, updates = (int(it) for it in sys.argv[5:8])
    pause_s, stop_s = float(sys.argv[8]), float(sys.argv[9])
    # Made before the forks, as pipelines do.
    updater = BatchJobStatusUpdater(
        url, spill_path=spill or None, flush_interval_s=0.2, stop_timeout_s=stop_s
    )
    children = []
    for process in range(processes):
        child = os.fork()
        if child == 0:
            work(updater, progress, process, threads, updates, pause_s)
            is_stored = updater.stop()
            with open(stats, "a") as file:
                file.write(
                    json.dumps({"all": is_stored, **updater.get_batch_update_stats()}) + "\n"
                )
            return
        children.append(child)
    # The signal goes to the group; the children know what to do.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0


def work(
    updater: BatchJobStatusUpdater,
    progress: str,
    process: int,
    threads: int,
    updates: int,
    pause_s: float,
) -> None:
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    with open(progress, "r+b") as file:
        calls = mmap.mmap(file.fileno(), 0)

    def report(thread: int) -> None:
        place = 8 * (process * threads + thread)
        number = struct.unpack_from("<q", calls, place)[0]
        while number < updates and not stopping.is_set():
            job = f"job-{process}-{thread}-{number % JOBS_PER_THREAD}"
            status = STATUSES[number // JOBS_PER_THREAD % len(STATUSES)]
            assert updater.batch_update_job_status(job, status, f"{process}-{thread}-{number}")
            number += 1
            struct.pack_into("<q", calls, place, number)
            stopping.wait(pause_s)

    workers = [threading.Thread(target=report, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()

"""Updates that wait on the disk: nothing lost and nothing twice, wherever a process ends."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path
from typing import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobslate import BatchJobStatusUpdater, SpillFailed
from jobslate.batch import Batch
from jobslate.spill import Slot, Spill, SpillFile

from . import proxy as fates
from .proxy import Proxy
from .server import Server, run_python, start_python
from .test_updater import _feed, _until

MakeUpdater = Callable[..., BatchJobStatusUpdater]

# The file itself.


def _batch(number: int, size: int = 3) -> Batch:
    lines = [b'{"job_id":"job-%d-%d","status":"queued"}\n' % (number, it) for it in range(size)]
    return Batch(f"key-{number}", b"".join(lines), size)


def _bodies(slots: list[Slot]) -> list[tuple[str, int, bytes]]:
    return [(slot.key, slot.updates, slot.file.read(slot)) for slot in slots]


def _plain(batches: list[Batch]) -> list[tuple[str, int, bytes]]:
    return [(batch.key, batch.updates, batch.body) for batch in batches]


def test_batches_come_back_byte_by_byte_and_in_order(tmp_path: Path) -> None:
    first = Spill(tmp_path / "spill", 1 << 20)
    batches = [_batch(number) for number in range(5)]
    slots = [first.append(batch) for batch in batches]
    assert _bodies(slots) == _plain(batches)
    first.done(slots[1])
    first.close()
    second = Spill(tmp_path / "spill", 1 << 20)
    adopted = second.adopt()
    assert _bodies(adopted) == _plain([batches[0], *batches[2:]])
    for slot in adopted:
        second.done(slot)
    assert sorted(os.listdir(tmp_path / "spill")) == ["LOCK"]
    assert second.bytes == 0
    assert Spill(tmp_path / "spill", 1 << 20).adopt() == []


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "spill", 1 << 20)
    spill.append(_batch(0))
    assert (tmp_path / "spill").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "spill").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_torn_end_costs_only_what_is_torn(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "whole", 1 << 20)
    batches = [_batch(number, size=1) for number in range(3)]
    ends = []
    for batch in batches:
        slot = spill.append(batch)
        ends.append(slot.offset + slot.bytes)
    name = next(path.name for path in (tmp_path / "whole").iterdir() if path.name != "LOCK")
    whole = (tmp_path / "whole" / name).read_bytes()
    assert len(whole) == ends[-1]
    for length in range(len(whole) + 1):
        folder = tmp_path / f"torn-{length}"
        folder.mkdir()
        # What a file system may leave behind the torn part as well.
        tail = (b"", b"\x00" * 4096, b'{"batch":"k","upd')[length % 3]
        (folder / name).write_bytes(whole[:length] + tail)
        torn = Spill(folder, 1 << 20)
        slots = torn.adopt()
        kept = [batch for batch, end in zip(batches, ends) if end <= length]
        assert _bodies(slots) == _plain(kept)
        # And it goes on.
        later = torn.append(_batch(9))
        assert _bodies([*slots, later]) == _plain([*kept, _batch(9)])
        torn.close()


@settings(max_examples=60, deadline=None)
@given(place=st.integers(min_value=0), value=st.integers(0, 255))
def test_damage_costs_at_most_the_batch_that_it_hits(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    folder = tmp_path_factory.mktemp("spill")
    spill = Spill(folder, 1 << 20)
    batches = [_batch(number) for number in range(4)]
    for batch in batches:
        spill.append(batch)
    spill.close()
    path = next(it for it in folder.iterdir() if it.name != "LOCK")
    content = bytearray(path.read_bytes())
    content[place % len(content)] = value
    path.write_bytes(content)
    found = _bodies(Spill(folder, 1 << 20).adopt())
    assert len(found) >= 3
    assert [it for it in _plain(batches) if it in found] == found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from("adr"), st.integers(0, 5)), max_size=40))
def test_the_directory_is_a_queue_over_any_restarts(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("spill")
    spill = Spill(folder, 1 << 20)
    model: list[Batch] = []
    slots: list[Slot] = []
    for number, (step, which) in enumerate(steps):
        if step == "a":
            model.append(_batch(number, size=which + 1))
            slots.append(spill.append(model[-1]))
        elif step == "d" and slots:
            # Not only in order: halves of a batch may be answered in any.
            spill.done(slots.pop(which % len(slots)))
            model = [batch for batch in model if batch.key in {slot.key for slot in slots}]
        elif step == "r":
            spill.close()
            spill = Spill(folder, 1 << 20)
            slots = spill.adopt()
        assert _bodies(slots) == _plain(model)
    spill.close()


def test_a_full_disk_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spill = Spill(tmp_path, 1 << 20)
    first = spill.append(_batch(1))
    write = os.write

    def write_half(descriptor: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, bytes(data[: len(data) // 2]))

    monkeypatch.setattr(os, "write", write_half)
    with pytest.raises(SpillFailed, match="No space left"):
        spill.append(_batch(2))
    # Now that not even that can be taken back.
    monkeypatch.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(5, "EIO")))
    with pytest.raises(SpillFailed, match="No space left"):
        spill.append(_batch(3))
    spill.done(first)
    again = spill.append(_batch(4)) if monkeypatch.undo() is None else None  # type: ignore[func-returns-value]
    assert again is not None
    spill.close()
    after = Spill(tmp_path, 1 << 20)
    assert [slot.key for slot in after.adopt()][-1] == "key-4"


def test_a_failed_sync_is_no_promise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spill = Spill(tmp_path, 1 << 20)
    spill.append(_batch(1))

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SpillFailed, match="Input/output"):
        spill.append(_batch(2))
    monkeypatch.undo()
    spill.append(_batch(3))
    spill.close()
    keys = [slot.key for slot in Spill(tmp_path, 1 << 20).adopt()]
    assert keys == ["key-1", "key-3"]


def test_it_holds_no_more_than_it_may(tmp_path: Path) -> None:
    spill = Spill(tmp_path, 1_000)
    with pytest.raises(SpillFailed, match="as much as it may"):
        for number in range(100):
            spill.append(_batch(number))
    assert 800 < spill.bytes <= 1_200


def test_files_of_the_living_are_left_alone(tmp_path: Path) -> None:
    code = """
import sys, pathlib
from jobslate.spill import Spill
from jobslate.batch import Batch
spill = Spill(pathlib.Path(sys.argv[1]), 1 << 20)
spill.append(Batch("theirs", b"{}\\n", 1))
print("ready", flush=True)
sys.stdin.readline()
"""
    with start_python(code, str(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        ours = Spill(tmp_path, 1 << 20)
        assert ours.adopt() == []
        process.kill()
        process.wait()
        assert [slot.key for slot in ours.adopt()] == ["theirs"]
        # Only one of many gets them.
        assert Spill(tmp_path, 1 << 20).adopt() == []


def test_files_are_adopted_in_the_order_in_which_they_were_begun(tmp_path: Path) -> None:
    spills = [Spill(tmp_path, 1 << 20) for _ in range(12)]
    for number, spill in enumerate(spills):
        spill.append(_batch(number))
    for spill in reversed(spills):
        spill.close()
    keys = [slot.key for slot in Spill(tmp_path, 1 << 20).adopt()]
    assert keys == [f"key-{number}" for number in range(12)]


def test_a_file_that_cannot_be_read_leaves_none_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [Spill(tmp_path, 1 << 20) for _ in range(3)]
    for number, spill in enumerate(before):
        spill.append(_batch(number))
    for spill in before:
        spill.close()
    scan = SpillFile.scan

    def fail(file: SpillFile) -> list[Slot]:
        if "-00000002-" in file.path.name:
            raise SpillFailed("Input/output error")
        return scan(file)

    monkeypatch.setattr(SpillFile, "scan", fail)
    ours = Spill(tmp_path, 1 << 20)
    with pytest.raises(SpillFailed):
        ours.adopt()
    assert ours.bytes == 0
    monkeypatch.undo()
    keys = [slot.key for slot in Spill(tmp_path, 1 << 20).adopt()]
    assert keys == ["key-0", "key-1", "key-2"]


def test_a_fork_keeps_no_lock(tmp_path: Path) -> None:
    spill = Spill(tmp_path, 1 << 20)
    spill.append(_batch(1))
    read_end, write_end = os.pipe()
    ready_read, ready_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write_end)
        os.write(ready_write, b".")
        os.read(read_end, 1)
        os._exit(0)
    os.read(ready_read, 1)
    # The parent ends its use while the child lives.
    spill.close()
    assert [slot.key for slot in Spill(tmp_path, 1 << 20).adopt()] == ["key-1"]
    os.close(write_end)
    assert os.waitpid(child, 0)[1] == 0
    for end in (read_end, ready_read, ready_write):
        os.close(end)


def test_a_process_that_stands_still_with_the_lock_stops_no_other(
    tmp_path: Path, server: Server, make_updater: MakeUpdater
) -> None:
    code = """
import fcntl, os, sys
lock = os.open(os.path.join(sys.argv[1], "LOCK"), os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.readline()
"""
    with start_python(code, str(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(SpillFailed, match="locked by another process"):
            Spill(tmp_path, 1 << 20).append(_batch(1))
        updater = make_updater(server.url, spill_path=tmp_path)
        updater.batch_update_job_status("a", "queued")
        assert updater.flush_job_status_updates()
        process.kill()


def test_a_link_in_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "spill").mkdir()
    (tmp_path / "secret").write_text("untouched")
    (tmp_path / "spill" / "spill-00000001-1.ndjson").symlink_to(tmp_path / "secret")
    spill = Spill(tmp_path / "spill", 1 << 20)
    assert spill.adopt() == []
    spill.append(_batch(1))
    assert (tmp_path / "secret").read_text() == "untouched"
    assert isinstance(spill._own, SpillFile)


# The updater with it.


def test_updates_wait_on_the_disk_while_the_server_is_away(
    server: Server, make_updater: MakeUpdater, tmp_path: Path
) -> None:
    updater = make_updater(server.url, spill_path=tmp_path / "spill", flush_interval_s=0.05)
    updater.batch_update_job_status("before", "queued")
    assert updater.flush_job_status_updates()
    assert not (tmp_path / "spill").exists() or os.listdir(tmp_path / "spill") == ["LOCK"]
    server.kill()
    for number in range(1_000):
        updater.batch_update_job_status(f"job-{number}", "queued")
    _until(lambda: updater.get_batch_update_stats()["spilled_now"] == 1_000)
    stats = updater.get_batch_update_stats()
    assert (stats["pending"], stats["stored"]) == (0, 1)
    assert stats["spill_bytes"] > 1_000 * 40
    server.start()
    assert updater.flush_job_status_updates()
    updater.batch_update_job_status("after", "queued")
    assert updater.flush_job_status_updates()
    stats = updater.get_batch_update_stats()
    assert (stats["stored"], stats["spilled_now"], stats["spill_bytes"]) == (1_002, 0, 0)
    seen = [entry.job_id for entry in _feed(server)]
    assert seen == ["before", *(f"job-{number}" for number in range(1_000)), "after"]
    assert os.listdir(tmp_path / "spill") == ["LOCK"]


def test_a_stop_while_the_server_is_away_loses_nothing(
    server: Server, make_updater: MakeUpdater, tmp_path: Path
) -> None:
    server.kill()
    first = make_updater(server.url, spill_path=tmp_path)
    for number in range(2_345):
        first.batch_update_job_status(f"job-{number}", "queued")
    assert first.stop(0.2) is False
    stats = first.get_batch_update_stats()
    assert (stats["spilled_now"], stats["lost"], stats["pending"]) == (2_345, 0, 0)
    second = make_updater(server.url, spill_path=tmp_path)
    second.batch_update_job_status("last", "queued")
    assert second.stop(0.2) is False
    server.start()
    third = make_updater(server.url, spill_path=tmp_path)
    third.batch_update_job_status("very last", "queued")
    assert third.flush_job_status_updates()
    assert third.get_batch_update_stats()["adopted"] == 2_346
    seen = [entry.job_id for entry in _feed(server)]
    assert seen == [*(f"job-{number}" for number in range(2_345)), "last", "very last"]


def test_under_load_the_disk_is_emptied_all_the_same(
    server: Server, make_updater: MakeUpdater, tmp_path: Path
) -> None:
    updater = make_updater(server.url, spill_path=tmp_path, flush_interval_s=0.02)
    server.kill()
    is_over = threading.Event()
    reported = []

    def report() -> None:
        number = 0
        while not is_over.is_set():
            if updater.batch_update_job_status("busy", f"step-{number}"):
                reported.append(f"step-{number}")
                number += 1
            time.sleep(0.0002)

    thread = threading.Thread(target=report)
    thread.start()
    _until(lambda: updater.get_batch_update_stats()["spilled_now"] > 500)
    server.start()
    _until(lambda: updater.get_batch_update_stats()["spilled_now"] == 0)
    is_over.set()
    thread.join()
    assert updater.flush_job_status_updates()
    assert [entry.status for entry in _feed(server)] == reported


def test_a_batch_whose_answer_was_lost_counts_once_over_a_restart(
    proxy: Proxy, server: Server, make_updater: MakeUpdater, tmp_path: Path
) -> None:
    proxy.fate = lambda _: fates.LOSE_ANSWER
    first = make_updater(proxy.url, spill_path=tmp_path)
    for number in range(120):
        first.batch_update_job_status(f"job-{number}", "queued")
    assert first.stop(0.2) is False
    # The server has all or some of them; the pipeline does not know.
    assert server.client().counts().total >= 50
    proxy.fate = lambda _: fates.PASS
    second = make_updater(proxy.url, spill_path=tmp_path)
    second.start()
    _until(lambda: second.get_batch_update_stats()["spill_bytes"] == 0)
    assert second.flush_job_status_updates()
    assert [entry.job_id for entry in _feed(server)] == [f"job-{it}" for it in range(120)]
    assert second.get_batch_update_stats()["replayed"] > 0


def test_a_large_update_among_spilled_ones_counts_the_others_once(
    make_server: Callable[..., Server], make_updater: MakeUpdater, tmp_path: Path
) -> None:
    server = make_server("--body-bytes-max", "4KiB")
    server.kill()
    first = make_updater(server.url, spill_path=tmp_path, batch_size=1000)
    for number in range(100):
        first.batch_update_job_status(f"job-{number}", "error", "x" * 7_000 if number == 5 else "")
    assert first.stop(0.2) is False
    server.start()
    proxy = Proxy(server.url)
    # Cut in the middle of the halving, and begun again from the file.
    cut = iter([fates.PASS] * 4 + [fates.LOSE_ANSWER] + [fates.CUT] * 2)
    proxy.fate = lambda _: next(cut, fates.PASS)
    second = make_updater(proxy.url, spill_path=tmp_path)
    second.start()
    _until(lambda: second.get_batch_update_stats()["rejected"] == 1)
    assert second.flush_job_status_updates()
    seen = [entry.job_id for entry in _feed(server)]
    assert seen == [f"job-{number}" for number in range(100) if number != 5]


def test_without_room_on_the_disk_updates_stay_in_memory(
    server: Server, make_updater: MakeUpdater, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.kill()
    blocked = tmp_path / "file"
    blocked.write_text("no directory")
    told = []
    updater = make_updater(
        server.url, spill_path=blocked, on_error=lambda error, _: told.append(error.code)
    )
    for number in range(100):
        updater.batch_update_job_status(f"job-{number}", "queued")
    _until(lambda: "spill_failed" in told)
    server.start()
    assert updater.flush_job_status_updates()
    assert server.client().counts().total == 100
    assert any("stay in memory" in it for it in caplog.messages)


def test_who_starts_waits_for_what_another_sends_for_the_dead(
    server: Server, make_updater: MakeUpdater, tmp_path: Path
) -> None:
    server.kill()
    dead = make_updater(server.url, spill_path=tmp_path, batch_updates_max=50)
    for number in range(500):
        dead.batch_update_job_status("a", f"step-{number}")
    assert dead.stop(0.2) is False
    server.start()
    slow_way, free_way = Proxy(server.url), Proxy(server.url)
    slow_way.fate = lambda _: fates.CUT
    heir = make_updater(slow_way.url, spill_path=tmp_path)
    heir.start()
    _until(lambda: len(slow_way.requests) > 0)
    other = make_updater(free_way.url, spill_path=tmp_path)
    for number in range(500, 700):
        other.batch_update_job_status("a", f"step-{number}")
    assert other.flush_job_status_updates(0.5) is False
    assert free_way.requests == []
    slow_way.fate = lambda _: fates.PASS
    assert other.flush_job_status_updates()
    assert [entry.status for entry in _feed(server)] == [f"step-{it}" for it in range(700)]


def test_who_waits_for_one_that_dies_takes_its_place(
    server: Server, make_updater: MakeUpdater, tmp_path: Path
) -> None:
    server.kill()
    dead = make_updater(server.url, spill_path=tmp_path)
    for number in range(100):
        dead.batch_update_job_status("a", f"step-{number}")
    assert dead.stop(0.2) is False
    server.start()
    nowhere = Proxy(server.url)
    nowhere.fate = lambda _: fates.CUT
    heir = make_updater(nowhere.url, spill_path=tmp_path)
    heir.start()
    _until(lambda: len(nowhere.requests) > 0)
    other = make_updater(server.url, spill_path=tmp_path)
    other.batch_update_job_status("a", "step-100")
    assert other.flush_job_status_updates(0.2) is False
    assert heir.stop(0.1) is False
    assert other.flush_job_status_updates()
    assert [entry.status for entry in _feed(server)] == [f"step-{it}" for it in range(101)]


def test_a_batch_that_the_disk_damaged_is_told_and_kept(
    server: Server, make_updater: MakeUpdater, tmp_path: Path
) -> None:
    server.kill()
    told = []
    spill = tmp_path / "spill"
    updater = make_updater(
        server.url,
        spill_path=spill,
        batch_updates_max=50,
        on_error=lambda error, _: told.append(error.code),
    )
    for number in range(150):
        updater.batch_update_job_status(f"job-{number}", "queued")
    _until(lambda: updater.get_batch_update_stats()["spilled_now"] == 150)
    path = next(it for it in spill.iterdir() if it.suffix == ".ndjson")
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(content.index(b'"job-77"') + 5)
        file.write(b"8")
    server.start()
    # Also if they were lost before it was asked.
    _until(lambda: updater.get_batch_update_stats()["lost"] > 0)
    assert updater.flush_job_status_updates() is False
    assert updater.flush_job_status_updates() is True
    stats = updater.get_batch_update_stats()
    assert stats["lost"] + stats["stored"] == 150
    assert 0 < stats["lost"] <= 100
    assert "updates_lost" in told
    # What is left of it is there for a person.
    assert [it.suffix for it in spill.iterdir() if it.name != "LOCK"] == [".damaged"]


PIPELINE = """
import sys
from jobslate import BatchJobStatusUpdater
updater = BatchJobStatusUpdater(sys.argv[1], spill_path=sys.argv[2], flush_interval_s=0.02)
updater.start()
number = int(sys.argv[3])
print("ready", flush=True)
while True:
    for _ in range(10):
        updater.batch_update_job_status(f"job-{number % 7}", f"{sys.argv[4]}-{number}")
        number += 1
    if sys.stdin.readline() != "\\n":
        break
    while updater.get_batch_update_stats()["pending"]:
        pass
    print(number, flush=True)
"""


def test_a_killed_pipeline_loses_nothing_that_was_on_the_disk(
    server: Server, make_updater: MakeUpdater, tmp_path: Path
) -> None:
    """SIGKILL at any moment after updates had left the memory, six times over."""
    server.kill()
    number = 0
    for round_ in range(6):
        if round_ == 3:
            server.start()
        with start_python(PIPELINE, server.url, str(tmp_path), str(number), str(round_)) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            for _ in range(5):
                process.stdin.write("\n")
                process.stdin.flush()
                number = int(process.stdout.readline())
            process.kill()
            process.wait()
        if round_ == 4:
            server.kill()
    server.start()
    last = make_updater(server.url, spill_path=tmp_path)
    last.start()
    assert last.flush_job_status_updates()
    seen = [entry.status or "" for entry in _feed(server)]
    assert len(seen) == len(set(seen))
    # The last ten of each round were in memory, or not: they are reported again in the next.
    steps = {int(status.partition("-")[2]) for status in seen}
    assert steps >= set(range(number))
    for round_ in range(6):
        of_round = [status for status in seen if status.startswith(f"{round_}-")]
        assert of_round == sorted(of_round, key=lambda it: int(it.partition("-")[2]))


def test_a_process_that_ends_while_the_server_is_away_spills(
    server: Server, make_updater: MakeUpdater, tmp_path: Path
) -> None:
    server.kill()
    code = """
import sys
from jobslate import BatchJobStatusUpdater
updater = BatchJobStatusUpdater(sys.argv[1], spill_path=sys.argv[2], stop_timeout_s=0.2)
for number in range(1234):
    updater.batch_update_job_status(f"job-{number}", "queued")
"""
    run_python(code, server.url, str(tmp_path))
    server.start()
    updater = make_updater(server.url, spill_path=tmp_path)
    updater.start()
    assert updater.flush_job_status_updates()
    assert server.client().counts().total == 1_234

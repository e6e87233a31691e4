"""The benchmark of a call runs, and says what it measured; how fast it is, no test decides."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from .server import binary

SCRIPT = Path(__file__).resolve().parents[1] / "benches" / "call_cost.py"


def test_the_benchmark_measures_all_three_arms() -> None:
    command = [sys.executable, str(SCRIPT), str(binary()), "--calls", "2000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    print("\n" + done.stdout)
    medians = json.loads(done.stdout.splitlines()[-1])["median_us"]
    assert list(medians) == ["list append", "server there", "server away"]
    assert all(value > 0 for value in medians.values())

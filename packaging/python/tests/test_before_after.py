"""The comparison runs, small, so that it cannot rot; its figures are not judged here."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import Any

import pytest

from .server import ROOT, binary, environment

EXAMPLE = ROOT / "packaging" / "python" / "examples" / "before_after.py"
POSTGRES = "JOBSLATE_PEERS_POSTGRES"


def test_before_and_after_hold_the_same_and_after_takes_few_transactions() -> None:
    if not os.environ.get(POSTGRES):
        reason = f"{POSTGRES} names no PostgreSQL: run the tests under packaging/peers --exec"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    done = subprocess.run(
        [
            *(sys.executable, str(EXAMPLE), "--server", str(binary())),
            *("--jobs", "300", "--workers", "32", "--least", "90"),
        ],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    rows = {name: cells for name, *cells in (line.strip("| ").split(" | ") for line in lines)}
    # Each 31st file is broken.
    calls = 300 * 3 + 300 * 129 // 3957
    assert rows["status calls"] == [str(calls), str(calls)]
    assert rows["database transactions"][0] == str(calls)
    assert rows["warnings `Connection pool pressure`"][1] == "0"
    assert "ends: 297 completed, 3 error" in done.stdout


def test_a_difference_is_a_complaint() -> None:
    example = loaded()
    before = example.Arm("before", transactions=1000, statuses={"a": ("completed", None)})
    after = example.Arm("after", transactions=20, statuses={"a": ("completed", None)})
    assert example.complaints(before, after, 98.0) == []
    after.transactions = 21
    assert example.complaints(before, after, 98.0) == ["97.90 % fewer, asked is 98.0 %"]
    after.transactions, after.warnings = 20, 1
    assert example.complaints(before, after, 98.0) == ["1 warnings after"]
    after.warnings, after.statuses = 0, {"a": ("completed", None), "b": ("error", "no")}
    assert example.complaints(before, after, 98.0) == [
        "b: None before, ('error', 'no') after",
        "1 of 2 jobs differ",
    ]


def loaded() -> Any:
    spec = importlib.util.spec_from_file_location("before_after", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules["before_after"] = module
    spec.loader.exec_module(module)
    return module

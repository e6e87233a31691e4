"""How long is waited between tries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobslate.backoff import ASKED_S_MAX, Backoff


def test_bounds_double_up_to_the_longest() -> None:
    backoff = Backoff()
    waits = [round(backoff.next_wait_s(1.0), 3) for _ in range(8)]
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    backoff.reset()
    assert backoff.next_wait_s(1.0) == 0.1


@given(st.floats(0, 1), st.integers(0, 10_000), st.none() | st.floats(-1, 1e9))
def test_a_wait_is_any_part_of_its_bound_after_what_was_asked(
    chance: float, tries: int, asked_s: float | None
) -> None:
    wait_s = Backoff(tries=tries).next_wait_s(chance, asked_s)
    asked = min(max(asked_s or 0.0, 0.0), ASKED_S_MAX)
    assert asked < wait_s <= asked + 5.0
    # Full jitter: with little luck there is almost no wait, but never none.
    assert Backoff(tries=tries).next_wait_s(0.0) <= 0.05

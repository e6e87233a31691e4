"""How long to wait before a call is tried again: a pure rule, and its pinch of chance."""

from __future__ import annotations

from dataclasses import dataclass

#: Nobody may ask for more; a server that does is mistaken.
ASKED_S_MAX = 300.0


@dataclass
class Backoff:
    """Waits with full jitter: a random part of a bound that doubles with each try.

    ``first_s`` is the bound of the first wait, ``longest_s`` that of all later ones.
    """

    first_s: float = 0.1
    longest_s: float = 5.0
    tries: int = 0

    def next_wait_s(self, chance: float, asked_s: float | None = None) -> float:
        """The next wait, for a ``chance`` from 0 to 1 that spreads callers who failed together.

        What the server asked for is waited in full, and the random part on top of it.
        """
        bound = min(self.longest_s, self.first_s * float(2 ** min(self.tries, 32)))
        self.tries += 1
        asked = min(max(asked_s or 0.0, 0.0), ASKED_S_MAX)
        # A hundredth at least, so that a failing server is never called in a tight loop.
        return asked + bound * min(max(chance, 0.01), 1.0)

    def reset(self) -> None:
        """Begins anew, after a success."""
        self.tries = 0

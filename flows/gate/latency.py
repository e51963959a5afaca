"""How long one row takes with each version, measured in one run, turn by turn."""

import time
from dataclasses import dataclass

import numpy as np

from serving.scorer import Scorer

_ROUNDS = 300
_WARM_UP = 20
_MICROSECONDS_PER_SECOND = 1e6


@dataclass(frozen=True, slots=True)
class Latency:
    """Median time of a single row, from the decoded request to the answer with its reasons.

    Attributes:
        champion: Microseconds.
        challenger: Microseconds.
        ratio: Challenger over champion.
        rows: Rows that each scored.
    """

    champion: float
    challenger: float
    ratio: float
    rows: int


def measure_latency(champion: Scorer, challenger: Scorer) -> Latency:
    """Return what single rows cost both; each scores the golden rows of its own bundle.

    They take turns row by row, so that whatever else the machine does meets both.
    """
    seconds: dict[int, list[float]] = {0: [], 1: []}
    contenders = [(scorer, scorer.bundle.golden.rows) for scorer in (champion, challenger)]
    for turn in range(-_WARM_UP, _ROUNDS):
        for which, (scorer, rows) in enumerate(contenders):
            at = turn % len(rows)
            velocity = scorer.bundle.golden.velocity[at : at + 1]
            started = time.perf_counter()
            scorer.score_rows([rows[at]], velocity)
            if turn >= 0:
                seconds[which].append(time.perf_counter() - started)
    one, other = (_MICROSECONDS_PER_SECOND * float(np.median(seconds[each])) for each in (0, 1))
    return Latency(champion=one, challenger=other, ratio=other / one, rows=_ROUNDS)

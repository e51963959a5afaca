"""Rates of segments, shrunk towards the rate of all rows: little data moves them little.

The number h of hits among the u units of a segment is taken as a draw around u r x, with r the
rate of all rows and x the segment's relative rate, itself gamma distributed around 1 with
variance 1/m. The segment's rate is then estimated as

    r (h + m) / (u r + m),    its own h / u weighted with w = u r / (u r + m), r with 1 - w.

This is the gamma-Poisson empirical Bayes estimate of relative risks (Clayton and Kaldor 1987,
Biometrics 43: 671-681), and credibility theory's weight E / (E + m) for E expected hits. The
prior's worth m, in hits, is estimated by moments (Marshall 1991, Applied Statistics 40: 283-294),
here with the binomial variance of h: segments that differ no more than by chance have m infinite
and share one rate.
"""

from balancing.metrics.cells import FloatArray


def estimate_prior_hits(hits: FloatArray, units: FloatArray) -> float:
    """Return m, the prior's worth in hits; infinite where segments differ by no more than chance.

    With p all hits over all units and E = u p, a segment's (h - E)^2 is E (1 - p) (1 - u / U) by
    chance alone and E^2 / m more on top: 1/m is what is left over, summed over segments.

    Args:
        hits: Hits per segment; segments are disjoint and make up all rows.
        units: Rows per segment of which hits are a part.

    Shape:
        ``(n_segments,)`` each.

    Example:
        >>> import numpy as np
        >>> estimate_prior_hits(np.array([10.0, 30.0]), np.array([1000.0, 1000.0])) < 10
        True
        >>> estimate_prior_hits(np.array([20.0, 20.0]), np.array([1000.0, 1000.0]))
        inf
    """
    total = units.sum()
    rate = hits.sum() / total if total else 0.0
    expected = units * rate
    by_chance = (1 - rate) * (expected * (1 - units / max(total, 1.0))).sum()
    beyond = ((hits - expected) ** 2).sum() - by_chance
    return float((expected**2).sum() / beyond) if beyond > 0 else float("inf")


def shrunk_rate(
    hits: FloatArray, units: FloatArray, rate: FloatArray, prior_hits: float
) -> FloatArray:
    """Return r (h + m) / (u r + m) for finite m; r where a segment has no units.

    Shape:
        ``(*, n_segments, n_cells)`` hits, units that broadcast against them, and the rate of all
        rows ``(*, 1, n_cells)`` -> ``(*, n_segments, n_cells)``.
    """
    shrunk: FloatArray = rate * ((hits + prior_hits) / (units * rate + prior_hits))
    return shrunk


def own_weight(expected_hits: FloatArray, prior_hits: float) -> FloatArray:
    """Return w = E / (E + m), how far a segment's own rate counts; any shape."""
    weight: FloatArray = expected_hits / (expected_hits + prior_hits)
    return weight

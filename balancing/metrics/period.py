"""How long a period rows cover, which turns alerts into alerts a day."""

import numpy as np
from numpy.typing import ArrayLike


def period_days(event_time: ArrayLike) -> float | None:
    """Return the days that the rows cover, or ``None`` when all fall on one instant.

    The last instant lasts as long as the others do on average, so that two months of rows dated
    on the first of each count as two months.

    Args:
        event_time: datetime64 or anything numpy reads as such; missing times are left out.

    Example:
        >>> period_days(["2018-01-01", "2018-01-02", "2018-01-03"])
        3.0
    """
    times = np.unique(np.asarray(event_time, dtype="datetime64[us]"))
    times = times[~np.isnat(times)]
    if len(times) < 2:
        return None
    span = float((times[-1] - times[0]) / np.timedelta64(1, "D"))
    return span * len(times) / (len(times) - 1)

"""Plain training: empirical risk minimisation on the rows as they are."""

from typing import Literal

from balancing.strategies.end_to_end import EndToEnd, EndToEndConfig


class ErmConfig(EndToEndConfig):
    """Plain training; with ``sampling`` or ``deferred`` the simplest forms of re-balancing."""

    kind: Literal["erm"] = "erm"


class Erm(EndToEnd):
    """Minimise the mean cross-entropy of the members, each on its own."""

    config: ErmConfig

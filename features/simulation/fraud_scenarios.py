"""How cards are abused: each scenario draws episodes of fraudulent purchases.

The scenarios differ in what gives them away. An amount outlier shows in the row itself. A
stolen card and card testing show partly in the row and clearly in the card's last hours. A
taken-over account shows over weeks. At a compromised terminal nothing about the row is odd:
only that other cards used there turned out to be defrauded. Relayed taps look like an ordinary
day of shopping, except that it is spent at many places new to the card.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from features.simulation.crime import HOUR, Crime, Span, dark_hours, position, steps
from features.simulation.rhythm import SECONDS_PER_DAY
from features.simulation.spending import (
    CARD_ON_FILE,
    CHIP,
    CONTACTLESS,
    ECOMMERCE,
    MAGSTRIPE,
    Purchases,
    to_cents,
)

ScenarioName = Literal[
    "amount_outlier",
    "compromised_terminal",
    "stolen_card",
    "card_testing",
    "account_takeover",
    "relayed_taps",
]
_RESALE = ("electronics", "clothing", "jewellery", "fuel", "hotel")
_REMOTE_RESALE = ("online_retail", "gaming", "airline")
_TESTED_AT = ("digital_goods", "gaming")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way of abusing cards.

    Attributes:
        code: Value of ``TX_FRAUD_SCENARIO``.
        share: Default share of the fraudulent rows, relative to the others'.
        report_days: Median time until the fraud is reported, in days.
        draw: Returns the purchases of some episodes, episode by episode; rows outside the span
            are the caller's to leave out.
        is_usual: Whether it occurs where nobody says which scenarios do.
    """

    code: int
    share: float
    report_days: float
    draw: Callable[[np.random.Generator, Crime, Span, int], Purchases]
    is_usual: bool = True


def _amount_outliers(
    rng: np.random.Generator, crime: Crime, span: Span, n_episodes: int
) -> Purchases:
    """One purchase, at an ordinary hour and place, of many times the usual amount."""
    customer = crime.customers(rng, n_episodes)
    terminal = crime.habits.terminals(rng, customer, day=span.first // SECONDS_PER_DAY)
    factor = rng.normal(3.1, 0.5, size=n_episodes)
    cents = crime.habits.amounts(rng, customer, terminal, log_factor=factor)
    day = span.starts(rng, n_episodes, longest=0) // SECONDS_PER_DAY
    return Purchases(
        second=crime.at_usual_hours(rng, customer, day),
        customer=customer,
        terminal=terminal,
        cents=cents,
        entry_mode=crime.habits.entry_modes(rng, terminal, cents),
    )


def _compromised_terminals(
    rng: np.random.Generator, crime: Crime, _span: Span, n_episodes: int
) -> Purchases:
    """Cloned cards are used where they were skimmed, for amounts that look ordinary."""
    order = rng.integers(len(crime.shops)) + np.arange(n_episodes)
    shop = crime.shops[order % len(crime.shops)]
    days = (crime.window_last - crime.window_first)[shop] // SECONDS_PER_DAY
    n_rows = 2 + rng.poisson(1.5 * crime.rows_per_terminal_day * days)
    terminal = np.repeat(shop, n_rows)
    customer = crime.neighbours(rng, terminal)
    length = np.repeat(days, n_rows)
    day = crime.window_first[terminal] // SECONDS_PER_DAY + (rng.random(len(length)) * length)
    cents = crime.habits.amounts(rng, customer, terminal, log_factor=0.1)
    return Purchases(
        second=crime.at_usual_hours(rng, customer, day.astype(np.int64)),
        customer=customer,
        terminal=terminal,
        cents=cents,
        entry_mode=crime.habits.entry_modes(rng, terminal, cents),
    )


def _stolen_cards(rng: np.random.Generator, crime: Crime, span: Span, n_episodes: int) -> Purchases:
    """A burst of larger amounts at places new to the card, at any hour, until it is blocked."""
    n_rows = 2 + rng.poisson(4.0, size=n_episodes)
    start = dark_hours(rng, span.starts(rng, n_episodes, longest=6 * HOUR))
    second = np.repeat(start, n_rows) + steps(rng, n_rows, mean_seconds=0.6 * HOUR)
    customer = np.repeat(crime.customers(rng, n_episodes), n_rows)
    elsewhere = rng.random(len(customer)) < 0.75
    terminal = np.where(
        elsewhere,
        crime.terminals_of(rng, len(customer), _RESALE),
        crime.habits.population.terminals.in_city(
            rng, crime.habits.population.customers.city[customer]
        ),
    )
    factor = rng.normal(1.0, 0.4, size=len(customer))
    modes = (CONTACTLESS, CHIP, MAGSTRIPE)
    return Purchases(
        second=second,
        customer=customer,
        terminal=terminal,
        cents=crime.habits.amounts(rng, customer, terminal, log_factor=factor),
        entry_mode=rng.choice(modes, size=len(customer), p=(0.55, 0.25, 0.2)).astype(np.int8),
    )


def _card_testing(rng: np.random.Generator, crime: Crime, span: Span, n_episodes: int) -> Purchases:
    """Many tiny payments online within minutes show that a card works; large ones follow."""
    n_tests, n_large = 4 + rng.poisson(4.0, size=n_episodes), rng.integers(1, 4, size=n_episodes)
    n_rows = n_tests + n_large
    start = span.starts(rng, n_episodes, longest=12 * HOUR)
    pause = np.repeat(rng.integers(HOUR, 10 * HOUR, size=n_episodes), n_rows)
    is_large = position(n_rows) >= np.repeat(n_tests, n_rows)
    second = np.repeat(start, n_rows) + steps(rng, n_rows, mean_seconds=90.0) + is_large * pause
    customer = np.repeat(crime.customers(rng, n_episodes), n_rows)
    tested_at = np.repeat(crime.terminals_of(rng, n_episodes, _TESTED_AT), n_rows)
    spent_at = crime.terminals_of(rng, len(customer), _REMOTE_RESALE)
    terminal = np.where(is_large, spent_at, tested_at)
    factor = rng.normal(1.3, 0.5, size=len(customer))
    large = crime.habits.amounts(rng, customer, terminal, log_factor=factor)
    tiny = to_cents(rng.lognormal(-0.6, 0.5, size=len(customer)))
    return Purchases(
        second=second,
        customer=customer,
        terminal=terminal,
        cents=np.where(is_large, large, tiny),
        entry_mode=np.full(len(customer), ECOMMERCE, dtype=np.int8),
    )


def _account_takeovers(
    rng: np.random.Generator, crime: Crime, span: Span, n_episodes: int
) -> Purchases:
    """Purchases through the customer's own account, larger and later at night by the week."""
    days = rng.integers(10, 36, size=n_episodes)
    n_rows = 4 + rng.poisson(0.4 * days)
    start = span.starts(rng, n_episodes, longest=35 * SECONDS_PER_DAY)
    progress = rng.random(int(n_rows.sum()))
    length = np.repeat(days, n_rows)
    customer = np.repeat(crime.customers(rng, n_episodes), n_rows)
    day = np.repeat(start // SECONDS_PER_DAY, n_rows) + (progress * length).astype(np.int64)
    usual = crime.at_usual_hours(rng, customer, day)
    at_night = day * SECONDS_PER_DAY + rng.integers(6 * HOUR, size=len(day))
    terminal = crime.terminals_of(rng, len(customer), _REMOTE_RESALE)
    mode = np.where(rng.random(len(customer)) < 0.75, CARD_ON_FILE, ECOMMERCE)
    return Purchases(
        second=np.where(rng.random(len(day)) < 0.7 * progress, at_night, usual),
        customer=customer,
        terminal=terminal,
        cents=crime.habits.amounts(rng, customer, terminal, log_factor=2.2 * progress),
        entry_mode=mode.astype(np.int8),
    )


def _relayed_taps(rng: np.random.Generator, crime: Crime, span: Span, n_episodes: int) -> Purchases:
    """Modest taps at shops of the customer's town, by day and hours apart; then large ones.

    A phone near the card relays it to another one at a till, so nothing is above the limit of a
    contactless payment until the last, and the card itself is never missed.
    """
    n_taps, n_large = 3 + rng.poisson(4.0, size=n_episodes), rng.integers(1, 3, size=n_episodes)
    n_rows = n_taps + n_large
    day = span.starts(rng, n_episodes, longest=SECONDS_PER_DAY) // SECONDS_PER_DAY
    start = day * SECONDS_PER_DAY + rng.integers(8 * HOUR, 13 * HOUR, size=n_episodes)
    is_large = position(n_rows) >= np.repeat(n_taps, n_rows)
    customer = np.repeat(crime.customers(rng, n_episodes), n_rows)
    home = crime.habits.population.customers.city[customer]
    tapped_at = crime.habits.population.terminals.in_city(rng, home)
    terminal = np.where(is_large, crime.terminals_of(rng, len(customer), _RESALE), tapped_at)
    factor = rng.normal(1.4, 0.4, size=len(customer))
    large = crime.habits.amounts(rng, customer, terminal, log_factor=factor)
    modest = rng.integers(1_000, 4_900, size=len(customer))
    return Purchases(
        second=np.repeat(start, n_rows) + steps(rng, n_rows, mean_seconds=HOUR),
        customer=customer,
        terminal=terminal,
        cents=np.where(is_large, large, modest),
        entry_mode=np.full(len(customer), CONTACTLESS, dtype=np.int8),
    )


SCENARIOS: Final[Mapping[ScenarioName, Scenario]] = {
    "amount_outlier": Scenario(1, 0.18, 3.0, _amount_outliers),
    "compromised_terminal": Scenario(2, 0.22, 6.0, _compromised_terminals),
    "stolen_card": Scenario(3, 0.25, 1.5, _stolen_cards),
    "card_testing": Scenario(4, 0.20, 2.5, _card_testing),
    "account_takeover": Scenario(5, 0.15, 5.0, _account_takeovers),
    "relayed_taps": Scenario(6, 0.25, 4.0, _relayed_taps, is_usual=False),
}
"""Every scenario by name. Code 0 is a genuine purchase."""

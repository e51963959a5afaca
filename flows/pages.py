"""Pages for people: one look, self-contained, no script, good on paper."""

import base64
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from features.durations import format_duration


def render_page(template: str, **values: Any) -> str:
    """Return the HTML of a template in ``flows/templates`` with every value escaped."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("flows"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = figure
    environment.filters["duration"] = _duration
    return environment


def picture_uri(path: Path) -> str:
    """Return a PNG file as the address that shows it within a page."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def figure(value: float | None) -> str:
    """Return a number as a person reads it; an en dash where there is none.

    Example:
        >>> figure(0.81234), figure(123456.7), figure(0.0000123), figure(None)
        ('0.8123', '123,457', '1.23e-05', '–')
    """
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 10:
        return f"{value:.4f}"
    if abs(value) < 1e-3:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}"


def _duration(value: timedelta) -> str:
    return format_duration(value) if value else "at once"

"""Writes a passport: the page for people, the JSON for machines, side by side."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from flows.pages import render_page
from flows.passport.document import Passport
from flows.passport.pictures import draw
from infra.errors import InputError
from infra.storage import write_atomically


class UnusablePath(InputError):
    """Raised for a name that no page can have."""


def export_passport(passport: Passport, out: Path) -> Path:
    """Write the page, and the JSON beside it under the same name; return where the JSON is.

    Raises:
        UnusablePath: If the name does not end in ``.html``.
    """
    if out.suffix.lower() != ".html":
        raise UnusablePath(f"--out names the page: a file that ends in .html. Got {out.name!r}.")
    table = out.with_suffix(".json")
    page = render_passport(passport)
    with write_atomically(table) as staging:
        staging.write_text(to_text(passport), "utf-8")
    with write_atomically(out) as staging:
        staging.write_text(page, "utf-8")
    return table


def to_text(passport: Passport) -> str:
    """Return a passport as readable JSON."""
    told = passport.model_dump(mode="json")
    return json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def render_passport(passport: Passport) -> str:
    """Return the page of a passport."""
    lineage, drawn = passport.lineage, draw(passport)
    review = next(
        (one for one in lineage.policies if one.version == lineage.live_policy),
        lineage.policies[-1] if lineage.policies else None,
    )
    return render_page(
        "passport.html.j2",
        passport=passport,
        lineage=lineage,
        recorded=lineage.recorded,
        performance=passport.performance,
        parts=passport.performance.parts if passport.performance else None,
        policy=review,
        pictures=drawn or dict.fromkeys(("performance", "periods", "fairness"), ()),
        has_pictures=drawn is not None,
        denied=lineage.contract["reasons"]["deny"],
        groups=lineage.contract["columns"]["groups"],
    )


def schema() -> dict[str, Any]:
    """Return the JSON Schema that every passport keeps to, as it is shipped."""
    text = (files("flows") / "passport" / "schema.json").read_text("utf-8")
    return dict(json.loads(text))


def made_schema() -> dict[str, Any]:
    """Return the JSON Schema of what this build writes; the shipped one must be the same."""
    return Passport.model_json_schema(mode="serialization")

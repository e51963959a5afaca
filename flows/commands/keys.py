"""Commands around API keys: who may ask a service."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from features.durations import parse_duration
from flows.commands.console import console, print_json
from flows.commands.options import Actor, AsJson, Reason
from infra.ledger import open_ledger
from infra.settings import Settings
from serving.access.keys import ApiKey, KeyRefused, KeyStore, Scope
from serving.access.rates import Rate

_UNBROKEN = 1_000
"""Columns of a page that no line of it fills."""


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    keys = typer.Typer(no_args_is_help=True, help="API keys: who may ask a service, and what.")
    keys.callback()(lambda: None)
    commands: tuple[tuple[str, Callable[..., None]], ...] = (
        ("create", create),
        ("list", list_all),
        ("revoke", revoke),
    )
    for name, command in commands:
        keys.command(name)(command)
    app.add_typer(keys, name="keys")


def create(
    scope: Annotated[list[Scope], typer.Option(help="What it may do; repeat for several.")],
    reason: Reason,
    name: Annotated[str, typer.Option(help="For people: who uses it.")] = "",
    rate: Annotated[str | None, typer.Option(help="Requests: 100/s, 600/min, 5000/h.")] = None,
    row_rate: Annotated[str | None, typer.Option(help="Rows, those of batches too.")] = None,
    expires: Annotated[str | None, typer.Option(help="How long it is valid: 90d, 12h.")] = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key and show it once."""
    settings = Settings()
    key, text = KeyStore(settings.database, open_ledger(settings)).create(
        scope,
        name=name,
        rate=None if rate is None else Rate.parse(rate),
        row_rate=None if row_rate is None else Rate.parse(row_rate),
        lifetime=None if expires is None else _lifetime(expires),
        actor=actor or settings.actor,
        reason=reason,
    )
    if as_json:
        print_json({"key": text, **_described(key)})
        return
    console.print(text)
    console.print("Keep it: it is not shown again. Send it as header Authorization: Bearer KEY.")
    console.print(
        f"Its key id is {key.key_id}, the part between the first two underscores: no secret. "
        "Logs name the key by it, and whitecrow keys revoke takes it."
    )


def list_all(as_json: AsJson = False) -> None:
    """List every key ever made; secrets are kept nowhere."""
    keys = [_described(key) for key in KeyStore(Settings().database).all()]
    if as_json:
        print_json({"keys": keys})
        return
    if not keys:
        console.print("No API key yet: a service on loopback answers without one, others refuse.")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("key id", "name", "scopes", "rate", "rows", "expires (UTC)", "state"):
        # Names and scopes may go on in the next line; half an id or a moment helps nobody.
        is_breakable = heading in {"name", "scopes"}
        table.add_column(heading, no_wrap=not is_breakable, overflow="fold")
    for key in keys:
        shown = (key["key_id"], key["name"], " ".join(key["scopes"]), key["rate"], key["row_rate"],
                 _minute(key["expires_at"]), key["state"])  # fmt: skip
        table.add_row(*(escape(str(value or "")) for value in shown))
    # Where nobody looks at a terminal there is no width to keep to.
    page = console if console.is_terminal else Console(highlight=False, width=_UNBROKEN)
    page.print(table)


def revoke(
    key_id: Annotated[
        str, typer.Argument(help="As whitecrow keys list names it; or the whole key.")
    ],
    reason: Reason,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Make a key worthless; running services refuse it within seconds."""
    settings = Settings()
    store = KeyStore(settings.database, open_ledger(settings))
    key = store.revoke(key_id, actor=actor or settings.actor, reason=reason)
    if as_json:
        print_json(_described(key))
        return
    console.print(f"{key.key_id} is revoked; running services refuse it within seconds.")


def _lifetime(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise KeyRefused(f"--expires: {error}.") from None


def _minute(moment: str | None) -> str | None:
    """Return a moment without its seconds and offset, which is always UTC's."""
    return moment and moment[:16].replace("T", " ")


def _described(key: ApiKey) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "rate": key.rate and str(key.rate),
        "row_rate": key.row_rate and str(key.row_rate),
        "created_at": key.created_at.isoformat(timespec="seconds"),
        "created_by": key.created_by,
        "expires_at": key.expires_at and key.expires_at.isoformat(timespec="seconds"),
        "state": key.state(datetime.now(UTC)),
    }

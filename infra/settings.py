"""Where things are: the state folder, the data, the servers. Never what is computed."""

import getpass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.errors import InputError


class SettingUnusable(InputError):
    """Raised when an environment variable holds what its setting cannot be."""


class Settings(BaseSettings):
    """Read from ``WHITECROW_*`` environment variables; every value has a working default.

    Raises:
        SettingUnusable: If one of them holds what its setting cannot be.
    """

    model_config = SettingsConfigDict(env_prefix="WHITECROW_", frozen=True, extra="ignore")

    home: Path = Field(default=Path(".whitecrow"), description="The state folder.")
    data_root: Path = Field(
        default=Path("../shared/data"), description="Where real data sets lie, for tests."
    )
    tracking_uri: str | None = Field(
        default=None, description="MLflow server; default: SQLite in the state folder."
    )
    models: str = Field(default="", description="Names to serve, comma separated; empty: all.")
    verify_key: str | None = Field(
        default=None,
        description="Public keys whose signatures count; default: those in the state folder.",
    )
    state_uri: str | None = Field(
        default=None,
        description="Online state: a redis:// URI or a file; default: SQLite in the state folder.",
    )
    auth: bool = Field(
        default=True, description="Whether requests need an API key; off is for loopback only."
    )
    host: str = Field(
        default="", description="Address that the service listens on; set by whitecrow serve."
    )
    deadline_seconds: float = Field(
        default=1.0, gt=0, le=60, description="A row not answered by then is refused."
    )
    batch_deadline_seconds: float = Field(
        default=10.0, gt=0, le=600, description="Rows of a batch not answered by then are refused."
    )
    max_under_way: int = Field(
        default=256, ge=1, description="Requests under way at once in one process."
    )
    max_connections: int = Field(
        default=1_000, ge=1, description="Connections open at once in one process."
    )
    rules: str | None = Field(
        default=None,
        description="Hard rules: a TOML file, or a folder with one a model; default: HOME/rules.",
    )
    test_identities: bool = Field(
        default=False, description="Whether ids such as test:decline force their answer."
    )
    log_uri: str | None = Field(
        default=None,
        description="Decision log: a postgresql:// URI or a file; default: HOME/decisions.db.",
    )
    ledger_uri: str | None = Field(
        default=None,
        description="Ledger: a postgresql:// URI or a file; default: HOME/whitecrow.db.",
    )
    anchor_seconds: float = Field(
        default=5.0,
        ge=0.2,
        le=3600,
        description="How often the decision log's heads go into the ledger, while they move.",
    )
    log_secret: str | None = Field(
        default=None,
        description="Secret that seals the decision log, 64 hexadecimal digits; default: a file.",
        repr=False,
    )
    log_on_stall: Literal["refuse", "degrade"] = Field(
        default="refuse", description="What becomes of rows while the decision log is away."
    )
    require_idempotency_key: bool = Field(
        default=False, description="Whether rows without an id need the header Idempotency-Key."
    )
    idempotency_days: float = Field(
        default=7.0, gt=0, le=3650, description="How long a repeated row gets the first answer."
    )
    webhook_secret: str | None = Field(
        default=None, description="Signs what goes to a webhook.", repr=False
    )
    notify: str = Field(
        default="",
        description="Who is told of findings: log, https:// or smtp:// targets, space separated.",
        repr=False,
    )
    smtp_password: str | None = Field(
        default=None, description="Of the user that e-mail is sent as.", repr=False
    )
    prefect_port: int = Field(
        default=4200,
        ge=0,
        le=65535,
        description="Port of the Prefect server that schedules start in the state folder; 0: any.",
    )
    actor: str = Field(default_factory=getpass.getuser, description="Who changes what is served.")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = f"WHITECROW_{'.'.join(map(str, first['loc'])).upper()}"
            raise SettingUnusable(f"{name}: {first['msg']}. Mend it, or unset it.") from None

    @cached_property
    def root(self) -> Path:
        """The state folder as an absolute path."""
        return self.home.expanduser().resolve()

    @property
    def database(self) -> Path:
        """SQLite file of the live records and the ledger."""
        return self.root / "whitecrow.db"

    @property
    def keys(self) -> Path:
        """Folder of the key that signs bundles and policies, and of its public half."""
        return self.root / "keys"

    @property
    def state_folder(self) -> Path:
        """Folder of the SQLite files that hold the online state of features over time."""
        return self.root / "state"

    @property
    def mlflow_uri(self) -> str:
        """Tracking and registry URI."""
        return self.tracking_uri or f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def notify_targets(self) -> tuple[str, ...]:
        """Who is told of findings."""
        return tuple(self.notify.split())

    @property
    def served_models(self) -> tuple[str, ...]:
        """Names to serve; empty means every model with a live record."""
        return tuple(name.strip() for name in self.models.split(",") if name.strip())

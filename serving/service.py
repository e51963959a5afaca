"""The BentoML service: processes, health and metrics are BentoML's, the rest is ``serving.http``.

Start it with :func:`serving.launch.serve`, or ``bentoml serve serving.service:ScoringService``.
"""

import gc

import bentoml

from infra.logs import configure_logs
from infra.settings import Settings
from serving.http import ScoringApp
from serving.served_models import load_models

application = ScoringApp()


# The settings cure what makes BentoML slow at the tail: a timer kept for each request until the
# time-out, a log line and a span per request, and full garbage collections over all modules.
@bentoml.service(
    name="whitecrow",
    traffic={"timeout": 2},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": [".*"]},
)
@bentoml.asgi_app(application, path="/")
class ScoringService:
    """Loads and verifies the models that the settings name; refuses to start where one fails."""

    def __init__(self) -> None:
        settings = Settings()
        configure_logs(level="INFO", as_json=True)
        application.serve(
            load_models(
                settings.root,
                settings.served_models,
                verify_key=settings.verify_key,
                state_uri=settings.state_uri,
            )
        )
        gc.collect()
        gc.freeze()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close(self) -> None:
        """Apply what still waits for an online state, and close it."""
        application.close()

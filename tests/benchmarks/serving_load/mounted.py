"""The same job as an ASGI application in BentoML, with whitecrow's settings."""

import gc

import bentoml

from serving_load.reference_job import ReferenceJob

application = ReferenceJob()


@bentoml.service(
    name="mounted",
    traffic={"timeout": 2},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": [".*"]},
)
@bentoml.asgi_app(application, path="/")
class Mounted:
    """Nothing but the job."""

    def __init__(self) -> None:
        gc.collect()
        gc.freeze()

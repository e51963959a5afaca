"""The bare reference: uvicorn, msgspec and ONNX Runtime."""

from serving_load.reference_job import ReferenceJob

application = ReferenceJob()

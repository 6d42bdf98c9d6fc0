"""The program behind `pipelines/ometria_pipeline.py`."""

from ometria_source.runner.main import main

__all__ = ["main"]

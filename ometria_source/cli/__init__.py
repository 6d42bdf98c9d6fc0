"""The program behind `pipelines/ometria_pipeline.py`."""

from ometria_source.cli.main import main

__all__ = ["main"]

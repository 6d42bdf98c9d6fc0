"""Load an account: `load`, and its report."""

from ometria_source.loading.report import LoadReport, TableReport
from ometria_source.loading.run import LoadInterruptedError, load

__all__ = ["LoadInterruptedError", "LoadReport", "TableReport", "load"]

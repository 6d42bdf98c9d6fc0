"""Load an Ometria account into a warehouse: `python pipelines/ometria_pipeline.py --help`."""

import sys

from ometria_source.cli import main

if __name__ == "__main__":
    sys.exit(main())

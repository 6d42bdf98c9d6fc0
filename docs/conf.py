"""The pages as a site: `sphinx-build -W -c docs . build/docs` (`pip install -e '.[docs]'`)."""

from ometria_source import __version__

project = "ometria_source"
author = "The ometria_source contributors"
copyright = author  # noqa: A001  Sphinx calls it so
version = release = __version__

# README.md and others stand above this folder
root_doc = "docs/index"
include_patterns = ["docs/**.md", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md"]
extensions = ["myst_parser", "sphinxcontrib.mermaid"]
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]
html_theme = "furo"
html_title = "ometria_source"
# Pygments has no lexer for crontab
suppress_warnings = ["misc.highlighting_failure"]

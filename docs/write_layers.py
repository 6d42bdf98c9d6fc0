"""Draw the layers of the package into CONTRIBUTING.md, from the imports; refuse cycles and imports against the order.

    python docs/write_layers.py [--check]

With `--check` nothing is written: it fails when the picture is not what the imports say.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from written import write_or_check

ROOT = Path(__file__).parents[1]
PACKAGE = "ometria_source"
TARGET = ROOT / "CONTRIBUTING.md"
BEGINNING = "<!-- layers: written by docs/write_layers.py -->\n"
END = "<!-- end of layers -->"

# From the ground up: a layer imports from lower ranks only. Layers of one rank do not import each other.
RANKS = (
    ("constants", "emails", "version"),
    ("shown",),
    ("exceptions", "json_values", "naming"),
    ("settings",),
    ("api", "export"),
    ("privacy",),
    ("sync",),
    ("tables",),
    ("source",),
    ("loading",),
    ("describe",),
    # imports nothing of the package, and only the program may import it
    ("simulator",),
    ("cli",),
)

Imports = Mapping[str, set[str]]


def module_imports(root: Path = ROOT) -> dict[str, set[str]]:
    """The modules that each module of the package imports.

    Args:
        root: The folder that the package is in.

    Returns:
        Dotted names by dotted name, all below the package's own name; the package itself is "".
    """
    paths = {_module_name(path.relative_to(root)): path for path in (root / PACKAGE).rglob("*.py")}
    return {name: set(_imported(path, root, paths)) - {name} for name, path in paths.items()}


def _module_name(path: Path) -> str:
    parts = path.with_suffix("").parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(path: Path, root: Path, known: Mapping[str, Path]) -> Iterable[str]:
    """What a module imports by name. That an import of a module also runs the packages around it is left out."""
    package = path.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            around = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            module = ".".join(filter(None, (around, node.module)))
            names = [(module, alias.name) for alias in node.names]
        else:
            continue
        for module, name in names:
            if module.split(".", maxsplit=1)[0] == PACKAGE:
                within = module.removeprefix(PACKAGE).removeprefix(".")
                full = f"{within}.{name}".strip(".")
                yield full if full in known else within


def find_cycle(imports: Imports) -> list[str]:
    """Modules that import each other in a circle; empty: there are none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        # it lists each module before the one that imports it
        return [name or PACKAGE for name in reversed(error.args[1])]
    return []


def layer_of(module: str) -> str:
    """The layer of a module; the package itself only passes on what `source` and `loading` have."""
    return module.split(".", maxsplit=1)[0] or "loading"


def layer_imports(imports: Imports) -> dict[str, set[str]]:
    """The layers that each layer imports."""
    layers: dict[str, set[str]] = defaultdict(set)
    for module, targets in imports.items():
        layers[layer_of(module)] |= {layer_of(target) for target in targets} - {layer_of(module)}
    return dict(layers)


def against_the_order(layers: Imports) -> list[str]:
    """The imports from a layer of the same or a higher rank, as `a imports b`."""
    rank = {layer: number for number, names in enumerate(RANKS) for layer in names}
    unknown = layers.keys() - rank.keys()
    if unknown:
        return [f"{name} has no rank" for name in sorted(unknown)]
    pairs = [(layer, target) for layer, targets in layers.items() for target in targets]
    return [
        f"{layer} imports {target}"
        for layer, target in sorted(pairs)
        if rank[layer] <= rank[target] or ("simulator" in (layer, target) and layer != "cli")
    ]


def _picture(layers: Imports) -> str:
    lines = ["```mermaid", "flowchart TD"]
    for rank in reversed(RANKS):
        for layer in rank:
            # a layer that is reached through another one has no arrow of its own
            below = layers.get(layer, set())
            reached = set().union(*(_all_below(target, layers) for target in below))
            lines += [f"    {layer} --> {target}" for target in sorted(below - reached)]
    return "\n".join([*lines, "```", ""])


def _all_below(layer: str, layers: Imports) -> set[str]:
    below = set(layers.get(layer, ()))
    return below.union(*(_all_below(target, layers) for target in below))


def main() -> int:
    """Check the imports, then write or check the picture."""
    imports = module_imports()
    problems = against_the_order(layer_imports(imports))
    if cycle := find_cycle(imports):
        problems.append(f"a cycle: {' imports '.join(cycle)}")
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    picture = _picture(layer_imports(imports))

    def with_picture(text: str) -> str:
        before, _, rest = text.partition(BEGINNING)
        _, _, after = rest.partition(END)
        if not after:
            raise SystemExit(f"{TARGET.name} has no place for the picture, between {BEGINNING.strip()} and {END}.")
        return before + BEGINNING + picture + END + after

    return write_or_check(__file__, str(__doc__), TARGET, with_picture)


if __name__ == "__main__":
    sys.exit(main())

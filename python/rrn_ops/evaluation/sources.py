"""Fingerprints of code: of a module and of all that it imports, as far as that is not an installed library."""

from __future__ import annotations

import ast
import importlib.util
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from rrn_ops.evaluation import files, interface

_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib"))


def digest_of_module(name: str) -> str:
    """Returns the fingerprint of a module of this package and of the modules of rrn that it imports.

    Args:
        name: As ``rrn_ops.evaluation.measure``.
    """
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise ValueError(f"there is no module {name}")
    root = Path(found.origin).parents[name.count(".")]
    return _digest(Path(found.origin), root, ("rrn_ops", "rrn_native"))


def digest_of_spec(spec: str, folder: Path) -> str:
    """Returns the fingerprint of the code of a plug-in: its file, and the files beside it that it imports.

    Modules of installed libraries are followed within their own package only.

    Args:
        spec: ``package.module:function`` or ``file.py:function``.
        folder: As for :func:`rrn_ops.evaluation.interface.load_module`.

    Raises:
        ValueError: The module cannot be imported or has no source.
    """
    name, _, _ = interface.split_spec(spec)
    module = interface.load_module(name, folder)
    if not module.__file__:
        raise ValueError(f"{spec}: {name} has no source file")
    path = Path(module.__file__)
    depth = 0 if name.endswith(".py") else name.count(".") + (path.name == "__init__.py")
    root = path.parents[depth]
    installed = str(root).startswith(_LIBRARIES)
    return _digest(path, root, (name.partition(".")[0],) if installed else ())


def _digest(start: Path, root: Path, packages: tuple[str, ...]) -> str:
    """The fingerprint of a file and what it imports below ``root``; of these packages only, if any are named."""
    waiting, seen = [start], {start}
    while waiting:
        path = waiting.pop()
        for name in _imports(path, root):
            if packages and name.partition(".")[0] not in packages:
                continue
            for found in _sources(name, root):
                if found not in seen:
                    seen.add(found)
                    waiting.append(found)
    return files.digest_of([(str(path.relative_to(root)), files.digest_of_file(path)) for path in sorted(seen)])


def _sources(name: str, root: Path) -> Iterator[Path]:
    """The files of a dotted name: the packages around it, and itself if it is a module."""
    place = root
    for part in name.split("."):
        place = place / part
        for path in (place.with_name(f"{part}.py"), place / "__init__.py"):
            if path.is_file():
                yield path


def _imports(path: Path, root: Path) -> Iterator[str]:
    if path.suffix != ".py":
        return
    package = path.relative_to(root).parent.parts
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:  # of a module that was not imported yet; its content counts nevertheless
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            parts = [*base, *([node.module] if node.module else [])]
            # An imported name may be a module of its own.
            yield from (".".join([*parts, alias.name]) for alias in node.names)

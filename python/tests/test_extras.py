"""What each extra installs is enough for the modules that it is for, and no more is needed."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib

import pytest
from repository import ROOT

PACKAGE = ROOT / "python" / "rrn_native"
CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text())

ONLY = """
import importlib, json, sys

missing = set(json.loads(sys.argv[1]))

class Fence:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Fence())
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


def requirements(extra: str) -> list[str]:
    project = CONFIGURATION["project"]
    return [*project["dependencies"], *(project["optional-dependencies"][extra] if extra else [])]


def closure(wanted: list[str]) -> set[str]:
    """The importable names of distributions and of all that they depend on."""
    from packaging.requirements import Requirement

    open_ones, found = [Requirement(each) for each in wanted], set()
    while open_ones:
        requirement = open_ones.pop()
        key = requirement.name.lower().replace("_", "-")
        if key in found:
            continue
        found.add(key)
        for each in map(Requirement, importlib.metadata.distribution(key).requires or ()):
            extras = [{"extra": extra} for extra in ("", *requirement.extras)]
            if each.marker is None or any(map(each.marker.evaluate, extras)):
                open_ones.append(each)
    return {
        module
        for module, names in importlib.metadata.packages_distributions().items()
        if any(each.lower().replace("_", "-") in found for each in names)
    }


EVERYWHERE = ("metrics", "labels", "calibrate", "comparison", "histogram", "projection", "explanation")
EXTRAS = {
    "": ["rrn_native", "rrn_native.query", "rrn_native.store", "rrn_native.bench", "rrn_native.doctor"]
    + [f"rrn_native.analysis.{module}" for module in EVERYWHERE]
    + [
        "rrn_ops.conversion.key_map",
        "rrn_ops.conversion.command",
        "rrn_ops.serving.command",
        "rrn_ops.serving.watchdog",
    ]
    + [f"rrn_ops.streaming.{name}" for name in ("clock", "connection", "local_broker", "deploy.command")]
    + [
        f"rrn_ops.streaming.models.{name}"
        for name in ("catalog", "contract", "fetch", "store", "command", "graph", "tfjs")
    ]
    + [f"rrn_ops.streaming.viewer.{name}" for name in ("command", "options")]
    + [f"rrn_ops.evaluation.{name}" for name in ("command", "interface", "tables", "ingest", "bootstrap", "gate")]
    + [f"rrn_ops.scale.{name}" for name in ("command", "plan")],
    "watch-folder": ["rrn_native.cli.watch_folder", "watchfiles"],
    "parquet": ["rrn_native.cli.index", "rrn_native._parquet", "pyarrow.parquet"],
    "quantize": [f"rrn_native.model.{module}" for module in ("quantize", "activations", "onnx_file", "onnx_function")],
    "report": [f"rrn_native.analysis.{path.stem}" for path in sorted((PACKAGE / "analysis").glob("[!_]*.py"))],
    "evaluate": [
        f"rrn_ops.evaluation.{name}"
        for name in (
            "plan",
            "workflow",
            "predictors",
            "measure",
            "report",
            "figures",
            "example",
            "preprocess",
            "predict",
        )
    ],
    "serve": [
        f"rrn_ops.serving.{name}"
        for name in ("description", "checks", "gallery", "store", "runtime", "server", "client", "ask", "load")
    ],
    "watch": [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in sorted((PACKAGE.parent / "rrn_ops" / "streaming").rglob("[!_]*.py"))
    ],
    "scale": [f"rrn_ops.scale.{path.stem}" for path in sorted((PACKAGE.parent / "rrn_ops" / "scale").glob("[!_]*.py"))],
    "export": [f"rrn_native.model.{path.stem}" for path in sorted((PACKAGE / "model").glob("[!_]*.py"))],
}


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_modules_need_no_more_than_their_extra(extra: str) -> None:
    try:
        allowed = closure(requirements(extra))
    except importlib.metadata.PackageNotFoundError as error:
        pytest.skip(f"{error} is not installed")
    missing = importlib.metadata.packages_distributions().keys() - allowed - {"rrn_native", "rrn_ops"}
    assert missing
    command = [sys.executable, "-c", ONLY, json.dumps(sorted(missing)), *EXTRAS[extra]]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]


def test_verbs_name_their_extras() -> None:
    """What the command line tells people to install is what pyproject.toml says."""
    from rrn_native import cli

    extras = CONFIGURATION["project"]["optional-dependencies"]
    for verb in cli.VERBS.values():
        if verb.extra:
            named = {re.split(r"[<>=]", requirement)[0] for requirement in extras[verb.extra]}
            assert set(verb.packages.split()) <= named

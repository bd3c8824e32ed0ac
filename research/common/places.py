"""Where things are in the source tree."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FINDINGS = ROOT / "findings"
RESULTS = FINDINGS / "results"
# What is downloaded or built once and kept; not part of the repository.
CACHE = ROOT / ".cache"
# Python packages for machines that have none of rrn's and cannot fetch any; carried along with the source tree.
BARE_PACKAGES = ROOT / ".deps" / "bare"
PROGRAM = ROOT / "build" / "similarity"

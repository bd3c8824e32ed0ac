"""Where things are in the source tree."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FINDINGS = ROOT / "findings"
RESULTS = FINDINGS / "results"
# What is downloaded or built once and kept; not part of the repository.
CACHE = ROOT / ".cache"
PROGRAM = ROOT / "build" / "similarity"

"""difPy, similar images. Usage: run_difPy.py FOLDER OUTPUT.json. Runs in that package's own environment."""

import json
import sys
from pathlib import Path

import difPy


def main():
    """Writes the pairs."""
    folder = Path(sys.argv[1]).resolve()
    search = difPy.search(difPy.build(str(folder), show_progress=False), similarity="similar", show_progress=False)
    pairs = [
        [Path(name).relative_to(folder).as_posix(), Path(match[0]).relative_to(folder).as_posix()]
        for name, matches in search.result.items()
        for match in matches
    ]
    Path(sys.argv[2]).write_text(json.dumps({"pairs": pairs}))


if __name__ == "__main__":
    main()

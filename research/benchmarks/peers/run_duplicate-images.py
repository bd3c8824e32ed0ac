"""duplicate-images with its defaults (pHash). Usage: FOLDER OUTPUT.json. Runs in that package's own environment."""

import json
import subprocess
import sys
from pathlib import Path


def main():
    """Writes the pairs."""
    folder = Path(sys.argv[1]).resolve()
    program = Path(sys.executable).with_name("find-dups")
    run = subprocess.run(
        [program, str(folder), "--on-equal", "print", "--quiet"], capture_output=True, text=True, check=True
    )
    # The planted files have no spaces in their names; the folder may.
    names = [line.split(f"{folder}/")[1:] for line in run.stdout.splitlines() if line.startswith(str(folder))]
    pairs = [[name.strip() for name in line] for line in names]
    Path(sys.argv[2]).write_text(json.dumps({"pairs": pairs}))


if __name__ == "__main__":
    main()

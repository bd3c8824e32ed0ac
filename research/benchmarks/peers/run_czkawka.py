"""Czkawka's library through the bindings "czkawka" from PyPI, with its defaults. Usage: FOLDER OUTPUT.json."""

import itertools
import json
import sys
from pathlib import Path

from czkawka import ImageSimilarity


def main():
    """Writes the pairs; a group stands for all its pairs."""
    folder = Path(sys.argv[1]).resolve()
    finder = ImageSimilarity()
    finder.set_directories([folder])
    pairs = [
        [path.relative_to(folder).as_posix() for path in pair]
        for group in finder.find_similar()
        for pair in itertools.combinations(group, 2)
    ]
    Path(sys.argv[2]).write_text(json.dumps({"pairs": pairs}))


if __name__ == "__main__":
    main()

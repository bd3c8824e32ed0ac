"""fastdup with its defaults but for the number of neighbours. Usage: FOLDER OUTPUT.json. Runs in its environment."""

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ["SENTRY_OPT_OUT"] = "1"

import fastdup


def main():
    """Writes the pairs."""
    folder = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as work:
        index = fastdup.create(work_dir=work, input_dir=str(folder))
        # By default it looks at two neighbours of a picture only; a planted family has up to 24 members.
        index.run(overwrite=True, verbose=False, nearest_neighbors_k=30)
        found = index.similarity()
        table = found[0] if isinstance(found, tuple) else found
        # 0.9 is what its own reports call similar.
        table = table[table["distance"] > 0.9]
        pairs = [
            [Path(a).relative_to(folder).as_posix(), Path(b).relative_to(folder).as_posix()]
            for a, b in zip(table["filename_from"], table["filename_to"], strict=True)
        ]
    Path(sys.argv[2]).write_text(json.dumps({"pairs": pairs}))


if __name__ == "__main__":
    main()

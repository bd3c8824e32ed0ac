"""The argument parser of rrn's verbs: wrong usage is one line."""

from __future__ import annotations

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Keeps the line breaks of its description and epilog."""

    def __init__(self, prog: str, description: str, epilog: str) -> None:
        super().__init__(
            prog=prog, description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    def error(self, message: str) -> NoReturn:
        """Ends the process with exit code 2 and a line without the usage, which --help shows."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")

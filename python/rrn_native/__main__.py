"""``python -m rrn_native`` is the command line ``rrn``."""

import sys

from rrn_native.cli import main

sys.exit(main())

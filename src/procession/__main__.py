"""``python -m procession``: the command line."""

import sys

from procession.cli import main

if __name__ == "__main__":
    sys.exit(main())

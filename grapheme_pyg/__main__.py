"""``python -m grapheme_pyg`` is ``grapheme``."""

import sys

from grapheme_pyg.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""``python -m seglab COMMAND …``, as torchrun starts it."""

import sys

from seglab.cli import main

if __name__ == "__main__":
    sys.exit(main())

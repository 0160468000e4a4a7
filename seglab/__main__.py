"""``python -m seglab COMMAND …``, as torchrun starts it."""

import sys

from seglab.cli import main

sys.exit(main())

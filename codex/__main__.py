"""`python -m codex`: the same as the command `codex`."""

import sys

from codex.cli import main

sys.exit(main())

"""`python -m lookback`: the same as `lookback`."""

import sys

from lookback.cli import main

sys.exit(main())

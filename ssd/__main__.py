"""``python -m ssd``: the console command `ssd`."""

import sys

from ssd.cli import main

sys.exit(main())

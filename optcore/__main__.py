"""``python -m optcore``."""

import sys

from optcore.adapters.cli import main

sys.exit(main())

"""`python -m kettle`."""

import sys

from kettle.cli import main

sys.exit(main())

"""`python -m ratel` is the command `ratel`."""

import sys

from ratel.command import main

sys.exit(main())

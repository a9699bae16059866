"""`python -m dacs` is `dacs`."""

import sys

from dacs.cli import main

sys.exit(main())

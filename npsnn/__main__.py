"""`python -m npsnn` is the command `npsnn`."""

import sys

from npsnn.cli import main

sys.exit(main())

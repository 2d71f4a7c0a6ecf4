"""`python -m ich_study.run`; see `ich_study.run.command`."""

import sys

from ich_study.run.command import main

sys.exit(main())

"""Measured lesions beside the priors of real haemorrhage (BHSD: 192 scans, five subtypes)."""

from __future__ import annotations

import pandas as pd

from ich_study.phantom.priors import BHSD_PRIORS
from ich_study.schema import SUBTYPES

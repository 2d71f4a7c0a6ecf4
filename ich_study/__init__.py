"""Reference study of weakly supervised intracranial hemorrhage localisation on head CT.

Five published methods on the same scans, splits, metrics and statistics. The notebooks in
`notebooks/` tell the story; this package holds what they call.
"""

__version__ = "0.1.0"

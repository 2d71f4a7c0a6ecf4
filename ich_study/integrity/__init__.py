"""Integrity report: what contradicts itself in a data set, one table, worst first."""

from ich_study.integrity.across import check_index
from ich_study.integrity.report import (
    CHECKS,
    SEVERITIES,
    TABLE_COLUMNS,
    Finding,
    check_names,
    findings_table,
    stop_on_errors,
)
from ich_study.integrity.scan import check_volume

__all__ = [
    "CHECKS",
    "SEVERITIES",
    "TABLE_COLUMNS",
    "Finding",
    "check_index",
    "check_names",
    "check_volume",
    "findings_table",
    "stop_on_errors",
]

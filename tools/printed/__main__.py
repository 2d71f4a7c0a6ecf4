"""Printed numbers of the five papers that contradict themselves: `python -m tools.printed`.

Checks the transcribed tables (`transcribed`) and writes `ich_study/published/contradictions.csv`,
which notebook 07 shows. To run after a change of a transcribed table; a test holds the two
together.
"""

from __future__ import annotations

from ich_study import paths
from ich_study.atomic import write_csv
from ich_study.published.tables import list_tables, load_table
from tools.printed.consistency import check_all
from tools.printed.transcribed import check_table


def main() -> None:
    """The command line; StudyError names the first cell that is not as it should be."""
    for row in list_tables().itertuples():
        check_table(load_table(row.paper, row.table), f"published/{row.paper}/{row.table}.csv")
    found = check_all().query("verdict == 'contradicts'")
    target = paths.project_root() / "ich_study" / "published" / "contradictions.csv"
    write_csv(target, found)
    print(f"{len(found)} contradictions in {target}")


if __name__ == "__main__":
    main()

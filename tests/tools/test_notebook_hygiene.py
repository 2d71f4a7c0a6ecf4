import pytest

from tests.test_notebooks import write
from tools import notebook_hygiene as hygiene

WHOLE = "from ich_study.methods import mil"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("from ich_study.study import Study, parts_table", {"study.Study", "study.parts_table"}),
        # a room or a module that is imported whole is no way round: what is used of it counts
        (
            f"{WHOLE}\nmil.spaced(mil.upsampled(x), mil.HEADS)",
            {"methods.mil.spaced", "methods.mil.upsampled", "methods.mil.HEADS"},
        ),
        (f"{WHOLE}\nmil.peaks.spaced(x).shape", {"methods.mil.peaks.spaced"}),
        (f"{WHOLE} as room\nroom.Search.read", {"methods.mil.Search"}),
        ("import ich_study.study\nich_study.study.Study.open()", {"study.Study"}),
        ("import ich_study.study as s\ns.Study", {"study.Study"}),
        ("import numpy as np\nfrom pandas import concat\nnp.mean", set()),
    ],
)
def test_names_of_the_package_are_counted_wherever_they_are_taken_from(code, expected):
    assert hygiene.package_names([code]) == {f"ich_study.{name}" for name in expected}


def test_a_study_of_more_names_than_allowed_is_named(tmp_path, monkeypatch):
    code = f"{WHOLE}\nfrom ich_study.study import Study\nmil.spaced, mil.upsampled, Study"
    path = write(tmp_path / "05_n.ipynb", code)
    for names, homes, wrong in ((3, 2, 0), (2, 2, 1), (3, 1, 1)):
        monkeypatch.setattr(hygiene, "MAX_NAMES", names)
        monkeypatch.setattr(hygiene, "MAX_MODULES", homes)
        assert len(hygiene.problems(path)) == wrong
    assert "3 names from 2 modules of ich_study, at most 3 from 1" in hygiene.problems(path)[0]
    assert not hygiene.problems(write(tmp_path / "00_n.ipynb", code)), "of one method's alone"


def test_a_study_imports_few_names_from_few_modules(tmp_path, monkeypatch):
    """By its import statements, whether the names are used or not: a room is one name."""
    code = f"{WHOLE}\nfrom ich_study.study import Study, parts_table as table\nimport numpy as np"
    path = write(tmp_path / "05_n.ipynb", code)
    for names, homes, wrong in ((3, 2, 0), (2, 2, 1), (3, 1, 1)):
        monkeypatch.setattr(hygiene, "MAX_IMPORTED", names)
        monkeypatch.setattr(hygiene, "MAX_FROM", homes)
        assert len(hygiene.problems(path)) == wrong
    assert "imports 3 names from 2 modules of ich_study, at most 3 from 1" in str(
        hygiene.problems(path)
    )
    assert (hygiene.MAX_NAMES, hygiene.MAX_MODULES) == (60, 12)
    assert not hygiene.problems(write(tmp_path / "00_n.ipynb", code)), "of one method's alone"

import pytest

from ich_study.errors import DataError, ParameterError
from ich_study.paths import (
    inside,
    project_root,
    real_data_root,
    resolve,
    safe_name,
    unset_variables,
)


def test_relative_paths_start_at_the_project_root():
    assert resolve("runs/x") == project_root() / "runs" / "x"


def test_absolute_paths_and_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_DATA", str(tmp_path))
    assert resolve("$STUDY_DATA/rsna") == tmp_path / "rsna"
    assert resolve("${STUDY_DATA}/rsna") == tmp_path / "rsna"
    assert resolve(tmp_path) == tmp_path


def test_an_unset_variable_is_named(monkeypatch):
    monkeypatch.delenv("NOT_SET_ANYWHERE", raising=False)
    with pytest.raises(ParameterError, match="NOT_SET_ANYWHERE"):
        resolve("$NOT_SET_ANYWHERE/rsna")
    assert unset_variables("$NOT_SET_ANYWHERE/$HOME/x") == ["NOT_SET_ANYWHERE"]


def test_real_data_follows_its_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("ICH_REAL_DATA", str(tmp_path))
    assert real_data_root() == tmp_path
    assert resolve("$ICH_REAL_DATA/phe_sich") == tmp_path / "phe_sich"
    monkeypatch.setenv("ICH_REAL_DATA", str(tmp_path / "absent"))
    assert real_data_root() is None


@pytest.mark.parametrize("name", ["../outside.npy", "/etc/passwd", "a/../../b", "."])
def test_names_from_data_files_cannot_escape(tmp_path, name):
    with pytest.raises(DataError, match="outside"):
        inside(tmp_path, name)


def test_names_inside_are_kept(tmp_path):
    assert inside(tmp_path, "a/b.npy") == tmp_path / "a" / "b.npy"


def test_safe_name():
    assert safe_name("CQ500 CT/0") == "CQ500_CT_0"
    assert "/" not in safe_name("../../x")
    with pytest.raises(DataError):
        safe_name("...")

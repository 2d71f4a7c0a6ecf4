"""`python -m ich_study.run` ends with the exit code of its command line."""

import runpy

import pytest

from ich_study.run import command


@pytest.mark.parametrize("code", [0, 3])
def test_the_module_is_the_command_line(monkeypatch, code):
    monkeypatch.setattr(command, "main", lambda: code)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("ich_study.run", run_name="__main__")
    assert ended.value.code == code

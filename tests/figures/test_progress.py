from tqdm import tqdm

from ich_study.figures import progress
from ich_study.manifest import HEADLESS


def test_bars_of_a_notebook_stand_where_someone_looks_and_never_in_red(monkeypatch, capsys):
    monkeypatch.delenv(HEADLESS, raising=False)
    monkeypatch.setattr(tqdm, "__init__", tqdm.__init__)  # which is put back at the end

    def said():
        progress.place_bars()
        list(tqdm(range(3), "counting", leave=False, disable=False))
        out, err = capsys.readouterr()
        return "counting" in out, "counting" in err

    assert said() == (False, True)  # no notebook
    monkeypatch.setattr(progress, "get_ipython", object)
    monkeypatch.setenv(HEADLESS, "1")
    assert said() == (False, True)  # our runner, which keeps them in its log
    monkeypatch.delenv(HEADLESS)
    monkeypatch.setattr(progress, "sliders_wanted", lambda: True)
    assert said() == (True, False)
    monkeypatch.setattr(progress, "sliders_wanted", lambda: False)
    assert said() == (False, False)
    assert capsys.readouterr() == ("", "")

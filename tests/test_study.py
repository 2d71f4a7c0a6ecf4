import json
import shutil
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from ich_study import manifest
from ich_study.errors import ParameterError, RunError, SplitError, StudyError
from ich_study.splits.split import split_hash, write_split
from ich_study.study import Study, assert_all_disjoint, parts_table
from tests.store.fake_reader import built


def opened(tmp_path, monkeypatch, splits=("fake",)):
    monkeypatch.setenv("ICH_STUDY_ROOT", str(tmp_path))
    store = built(tmp_path)
    target = tmp_path / "data" / "store" / store.dataset
    shutil.copytree(store.path, target)
    patients = store.index[["dataset", "patient_id"]].drop_duplicates()
    parts = ["train", "test"] * len(patients)
    split = patients.assign(part=parts[: len(patients)]).reset_index(drop=True)
    write_split(tmp_path / "data" / "splits" / "fake.csv", split)
    return Study.open("02_x", "out", "data", [store.dataset], splits), store.dataset


def test_a_study_knows_its_parts_and_records_what_it_is_of(tmp_path, monkeypatch):
    study, dataset = opened(tmp_path, monkeypatch)
    train, test = (study.rows(dataset, "fake", part) for part in ("train", "test"))
    assert_all_disjoint(train, test)
    assert len(train) + len(test) == len(study.rows(dataset))
    study.record(weights={"net": "0" * 64})
    noted = json.loads((study.output / manifest.RECORD_NAME).read_text())
    assert noted["data"] == {dataset: study.stores[dataset].content_hash}
    assert noted["split"] == {"fake": split_hash(study.splits["fake"])}
    assert noted["weights"] == {"net": "0" * 64}


def test_parts_of_several_data_sets_are_learned_from_together(tmp_path, monkeypatch):
    study, dataset = opened(tmp_path, monkeypatch)
    own = study.rows(dataset, "fake", "train")
    pd.testing.assert_frame_equal(study.rows_together({dataset: "fake"}, "train"), own)
    assert study.source([dataset]) is study.stores[dataset]

    other = SimpleNamespace(
        dataset="other",
        scan_ids=["elsewhere"],
        content_hash="0" * 64,
        index=study.stores[dataset].index.assign(dataset="other", scan_id="elsewhere"),
    )
    both = Study(
        study.name,
        study.output,
        study.data,
        {**study.stores, "other": other},
        {**study.splits, "mine": study.splits["fake"].assign(dataset="other")},
    )
    rows = both.rows_together({dataset: "fake", "other": "mine"}, "train")
    assert len(rows) == 2 * len(own) and list(rows.index) == list(range(len(rows)))
    assert set(rows["dataset"]) == {dataset, "other"}
    scan = own["scan_id"].iloc[0]
    joined = both.source([dataset, "other"])
    assert (joined.volume(scan) == study.stores[dataset].volume(scan)).all()


def test_half_a_part_or_an_unknown_one_is_refused(tmp_path, monkeypatch):
    study, dataset = opened(tmp_path, monkeypatch)
    with pytest.raises(ParameterError, match="name both or neither"):
        study.rows(dataset, "fake")
    with pytest.raises(ParameterError, match="name both or neither"):
        study.rows(dataset, part="train")
    with pytest.raises(ParameterError, match="opened the data sets"):
        study.rows("rsna", "fake", "train")


def test_tables_come_back_and_lie_in_the_folder(tmp_path, monkeypatch):
    study, _ = opened(tmp_path, monkeypatch, splits=())
    table = study.write(pd.DataFrame({"a": [1]}), "table")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out" / "table.csv"), table)


def test_the_curves_of_a_training_are_a_picture_of_its_folder(tmp_path, monkeypatch):
    study, dataset = opened(tmp_path, monkeypatch, splits=())
    history = pd.DataFrame({"epoch": [0], "train_loss": 1.0, "valid_loss": 1.0})
    study.save_history(history.assign(auroc=0.5, f1=0.5), f"an arm on {dataset}", "arm/history")
    assert plt.gcf().get_suptitle() == f"an arm on {dataset}"
    assert (study.output / "arm" / "history.png").is_file()
    plt.close()


@pytest.mark.parametrize(
    ("synthetic", "title", "expected"),
    [
        ({"fake": True}, "AUROC", "synthetic phantom: AUROC"),
        ({"fake": True}, "fake, synthetic phantom", "fake, synthetic phantom"),
        ({"fake": False}, "AUROC on fake", "AUROC on fake"),
        ({"fake": False, "rsna": True}, "AUROC on fake", "AUROC on fake"),
        (
            {"fake": False, "rsna": True},
            "AUROC on rsna/test",
            "synthetic phantom: AUROC on RSNA/test",
        ),
    ],
)
def test_a_phantom_is_called_synthetic_in_every_title(
    tmp_path, monkeypatch, synthetic, title, expected
):
    (tmp_path / "data").mkdir()
    rows = [{"dataset": name, "synthetic": each} for name, each in synthetic.items()]
    pd.DataFrame(rows).to_csv(tmp_path / "data" / "summary.csv", index=False)
    study, _ = opened(tmp_path, monkeypatch, splits=())

    def draw(words):
        plt.subplots()[1].set_title(words)

    study.explore(draw, words=[title])
    figure = plt.gcf()
    assert figure.axes[0].get_title() == expected
    study.save(figure, "picture")
    assert figure.axes[0].get_title() == expected, "said once"
    study.save(figure, "picture", shown=False)
    assert not plt.fignum_exists(figure.number), "it would be shown twice"


def test_a_study_on_data_that_changed_is_refused(tmp_path, monkeypatch):
    opened(tmp_path, monkeypatch)
    outputs = [{"path": "splits/fake.csv", "bytes": 1, "sha256": "0" * 64}]
    record = {"status": "ok", "outputs": outputs, "command": "python -m ich_study.run 00_data"}
    (tmp_path / "data" / "run.json").write_text(json.dumps(record))
    with pytest.raises(StudyError, match=r"splits/fake\.csv.*python -m ich_study\.run 00_data"):
        Study.open("02_x", "out", "data", ["fake"], ["fake"])


def test_what_a_notebook_writes_over_keeps_no_record_that_says_ok(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    record = {"status": "ok", "outputs": []}
    (tmp_path / "out" / "run.json").write_text(json.dumps(record))
    opened(tmp_path, monkeypatch)
    assert not (tmp_path / "out" / "run.json").exists()
    assert json.loads((tmp_path / "out" / "run-earlier.json").read_text()) == record


def test_parts_that_share_a_patient_are_refused():
    rows = pd.DataFrame({"dataset": "d", "patient_id": ["a", "b"], "any": [True, False]})
    with pytest.raises(SplitError):
        assert_all_disjoint(rows.iloc[:1], rows.iloc[1:], rows)
    found = parts_table({"one": rows})
    assert found.to_dict("records") == [{"part": "one", "patients": 2, "slices": 2, "any": 1}]


def test_a_folder_of_another_notebook_is_no_data(tmp_path, monkeypatch):
    opened(tmp_path, monkeypatch)
    record = {"status": "ok", "outputs": [], "notebook": "07_figures"}
    (tmp_path / "data" / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"a run of 00_data in .*, found one of 07_figures"):
        Study.open("02_x", "out", "data", ["fake"], ["fake"])
    with pytest.raises(RunError, match=r"found nothing; make it: python -m ich_study\.run 00_data"):
        Study.open("02_x", "out", "runs/x/00_data", ["fake"], ["fake"])


def test_a_number_out_of_its_range_is_refused_before_the_data_are_opened(tmp_path, monkeypatch):
    """In JupyterLab nobody else looks at it before the intervals are drawn."""
    given = opened(tmp_path, monkeypatch)[0]
    asked = ("02_x", "out", "data", list(given.stores), ["fake"])
    with pytest.raises(ParameterError, match="bootstrap_replicates is 0; expected a number above"):
        Study.open("02_x", "out", "nowhere", [], bootstrap_replicates=0, seed=1)
    with pytest.raises(ParameterError, match="unknown setting 'sead'; did you mean 'seed'"):
        Study.open(*asked, sead=1)
    assert Study.open(*asked, bootstrap_replicates=1, seed=0).stores.keys() == given.stores.keys()

"""Parameters: what a cell declares, what YAML may set, and errors that name the parameter, the file
and what was expected."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest
import yaml
from hypothesis import HealthCheck, given, settings, strategies as st
from papermill.translators import PythonTranslator

from ich_study import params
from ich_study.errors import ParameterError

CELL = '''
"""Where, and how long."""
output_dir: str = "runs/x"
epochs: int = 3  # passes over the training part
learning_rate: float = 1e-3
windows: list[str] = ["brain", "bone"]
sizes: dict[str, int] = {"b0": 224}
limit: int | None = None
pretrained = True
shift = -2
'''


@pytest.fixture
def notebook(tmp_path):
    return write_notebook(tmp_path / "01_test.ipynb", CELL)


def write_notebook(path: Path, parameters: str, *code: str, tags=("parameters",)) -> Path:
    cells = [
        nbformat.v4.new_code_cell(parameters, metadata={"tags": list(tags)}),
        *map(nbformat.v4.new_code_cell, code),
    ]
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python"}}), path
    )
    return path


def load(notebook, text="", pairs=()):
    file = notebook.parent / "given.yaml"
    file.write_text(text)
    return params.load(notebook, [file], pairs)


def test_declared_agrees_with_papermill(notebook):
    ours = params.declared(notebook)
    cells = nbformat.read(notebook, as_version=4).cells
    (cell,) = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    theirs = PythonTranslator.inspect(cell)
    # papermill's own reading of the cell leaves out annotations with `|`
    assert {
        name: repr(parameter.default)
        for name, parameter in ours.items()
        if "|" not in parameter.annotation
    } == {entry.name: repr(ast.literal_eval(entry.default)) for entry in theirs}
    assert ours["limit"].annotation == "int | None"
    assert ours["pretrained"].annotation == "bool" and ours["shift"].annotation == "int"
    assert not any(parameter.required for parameter in ours.values())


def test_later_files_win_and_pairs_win_over_files(notebook, tmp_path):
    (tmp_path / "a.yaml").write_text("epochs: 5\nlimit: 7\nwindows: [a]\n")
    (tmp_path / "b.yaml").write_text("epochs: 6\nlimit: null\n")
    found = params.load(
        notebook, [tmp_path / "a.yaml", tmp_path / "b.yaml"], [("windows", "[b, c]")]
    )
    assert found == {"epochs": 6, "limit": None, "windows": ["b", "c"]}
    assert params.complete(notebook, found)["learning_rate"] == 1e-3


def test_an_empty_file_sets_nothing(notebook):
    assert load(notebook, "# nothing\n") == {}


def test_whole_numbers_become_float_where_float_is_declared(notebook):
    found = load(notebook, "learning_rate: 1\n")
    assert found["learning_rate"] == 1.0 and isinstance(found["learning_rate"], float)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epoch: 3\n", ["unknown", "'epoch'", "given.yaml", "did you mean 'epochs'"]),
        ("zzz: 3\n", ["unknown", "'zzz'", "output_dir"]),
        ("epochs: many\n", ["mistyped", "'epochs'", "expected int", "str 'many'", "given.yaml"]),
        ("epochs: 3.0\n", ["mistyped", "expected int", "float 3.0"]),
        ("epochs: true\n", ["mistyped", "expected int", "bool True"]),
        ("epochs: null\n", ["mistyped", "expected int", "NoneType"]),
        ("pretrained: 1\n", ["mistyped", "expected bool"]),
        ("output_dir: 3\n", ["mistyped", "expected str"]),
        ("windows: brain\n", ["mistyped", "list[str]"]),
        ("windows: [brain, 3]\n", ["mistyped", "list[str]"]),
        ("sizes: {b0: big}\n", ["mistyped", "dict[str, int]"]),
        ("limit: 1.5\n", ["mistyped", "int | None"]),
        ("learning_rate: 1e-4\n", ["mistyped", "1.0e-4"]),
        ("epochs: 3\nepochs: 4\n", ["'epochs' stands twice", "lines 1 and 2"]),
        ("- epochs\n", ["given.yaml", "list"]),
        ("3: epochs\n", ["given.yaml"]),
        ("epochs: [\n", ["given.yaml", "not readable as YAML"]),
        ("!!python/object/apply:os.getcwd []\n", ["not readable as YAML"]),
    ],
)
def test_a_wrong_file_is_an_error_that_names_it(notebook, text, says):
    with pytest.raises(ParameterError) as caught:
        load(notebook, text)
    assert all(part in str(caught.value) for part in says), str(caught.value)


def test_every_problem_is_named_at_once(notebook):
    with pytest.raises(ParameterError) as caught:
        load(notebook, "epoch: 3\nwindows: 4\n")
    assert "'epoch'" in str(caught.value) and "'windows'" in str(caught.value)


def test_a_wrong_line_is_an_error_even_where_a_later_file_overrides_it(notebook, tmp_path):
    (tmp_path / "a.yaml").write_text("epochs: many\n")
    (tmp_path / "b.yaml").write_text("epochs: 6\n")
    with pytest.raises(ParameterError, match=r"a\.yaml"):
        params.load(notebook, [tmp_path / "a.yaml", tmp_path / "b.yaml"])


def test_a_missing_file_is_an_error(notebook, tmp_path):
    with pytest.raises(ParameterError, match=r"absent\.yaml does not exist"):
        params.load(notebook, [tmp_path / "absent.yaml"])


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("epochs", "4", 4),
        ("learning_rate", "1e-4", 1e-4),
        ("learning_rate", "2", 2.0),
        ("output_dir", "5", "5"),
        ("output_dir", "a: b", "a: b"),
        ("pretrained", "false", False),
        ("limit", "null", None),
        ("limit", "3", 3),
        ("windows", "[a]", ["a"]),
    ],
)
def test_a_pair_is_read_as_its_parameter_is_declared(notebook, name, text, value):
    found = params.load(notebook, [], [(name, text)])
    assert found == {name: value} and type(found[name]) is type(value)


def test_a_wrong_pair_is_an_error(notebook):
    with pytest.raises(ParameterError, match=r"'epochs' in -p: expected int, found str 'x'"):
        params.load(notebook, [], [("epochs", "x")])


@pytest.mark.parametrize("line", ["root: str", "root: str = ...", "root: str = None"])
def test_a_parameter_without_a_value_to_run_with_is_required(tmp_path, line):
    notebook = write_notebook(tmp_path / "n.ipynb", line)
    with pytest.raises(ParameterError, match="missing parameter 'root'"):
        params.load(notebook)
    assert load(notebook, "root: here\n") == {"root": "here"}


@pytest.mark.parametrize(
    "cell",
    [
        "a = 1 + 2",
        "a = f()",
        "import os",
        "a = b = 1",
        "a, b = 1, 2",
        "a = None",
        "a: int = 'x'",
        "a: Path = 'x'",
        "a = 1\na = 2",
        "a = (",
        "a: int.b = 1",
    ],
)
def test_a_parameters_cell_holds_literals_only(tmp_path, cell):
    with pytest.raises(ParameterError, match=r"n\.ipynb"):
        params.declared(write_notebook(tmp_path / "n.ipynb", cell))


def test_there_is_one_parameters_cell(tmp_path):
    with pytest.raises(ParameterError, match="found 0"):
        params.declared(write_notebook(tmp_path / "n.ipynb", "a = 1", tags=()))


@pytest.mark.parametrize(
    "text",
    [
        "epochs: 10",
        "learning_rate: 1.0e-4",
        "windows: [yes, 2020-01-01]",
        "output_dir: 2020-01-01",
        "sizes: {a: 010}",
        "limit: ~",
        "pretrained: off",
    ],
)
def test_yaml_means_what_it_means_to_papermill(tmp_path, text):
    from papermill.iorw import read_yaml_file

    file = tmp_path / "x.yaml"
    file.write_text(text)
    assert {
        name: setting.value for name, setting in params.read_file(file).items()
    } == read_yaml_file(str(file))


scalars = st.one_of(
    st.integers(-9, 9), st.booleans(), st.none(), st.text("abc1.-", max_size=4), st.floats(-2, 2)
)


@given(value=st.one_of(scalars, st.lists(scalars, max_size=3)))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_value_survives_yaml_or_is_refused(notebook, value):
    declared = params.declared(notebook)
    for name, parameter in declared.items():
        try:
            found = load(notebook, yaml.safe_dump({name: value}))[name]
        except ParameterError as error:
            assert repr(name) in str(error)
            continue
        assert found == value
        assert not isinstance(found, bool) or parameter.annotation == "bool"


SETTINGS = """
output_dir: str = "runs/x"  # where
# The classifier: settings of
# ich_study.training.config.TrainingConfig
classifier: dict = {
    "size": 96,  # px
    "epochs": 5,
    "augmentation_options": {"0.rotate": 5, "0.shear": 2},
}
head: dict | None = {"epochs": 2}  # settings of ich_study.training.config.TrainingConfig
# settings of ich_study.models.settings.BackboneSettings
backbone: dict = {"name": "resnet101", "options": {"layers": [1, 1, 1, 1]}}
# By name, each settings of ich_study.methods.resnet_lstm.settings.ClusterRecipe
recipes: dict[str, dict] = {"kmeans": {"clusters": 4}, "authors": {"pixels": "whole_slice"}}
free: dict = {"a": 1}
"""


@pytest.fixture
def nested(tmp_path):
    return write_notebook(tmp_path / "03_test.ipynb", SETTINGS)


def test_a_comment_names_the_model_of_its_own_parameter_only(nested):
    models = {name: each.model for name, each in params.declared(nested).items()}
    training = "ich_study.training.config.TrainingConfig"
    assert models == {
        "output_dir": None,
        "classifier": training,
        "head": training,
        "backbone": "ich_study.models.settings.BackboneSettings",
        "recipes": "ich_study.methods.resnet_lstm.settings.ClusterRecipe",
        "free": None,
    }


def test_settings_merge_over_files_and_the_default(nested, tmp_path):
    default = params.declared(nested)["classifier"].default
    found = params.load(nested, [], [("classifier", "{epochs: 2}")])
    assert found == {"classifier": {**default, "epochs": 2}}
    (tmp_path / "a.yaml").write_text("classifier: {size: 112, optimizer: adamw}\n")
    (tmp_path / "b.yaml").write_text("classifier: {learning_rate: 1}\nhead: null\n")
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    found = params.load(nested, files, [("classifier", "{epochs: 2}"), ("head", "{epochs: 9}")])
    assert found["classifier"] == {
        **default,
        "size": 112,
        "optimizer": "adamw",
        "learning_rate": 1,
        "epochs": 2,
    }
    assert found["head"] == {"epochs": 9}, "what a file took away does not come back"
    assert params.complete(nested, found)["classifier"] == found["classifier"]


@pytest.mark.parametrize(("text", "value"), [("1e-4", 1e-4), ("2E+1", 20.0), ("2e-05", 2e-5)])
def test_a_pair_takes_numbers_as_people_type_them_inside_a_mapping_too(nested, text, value):
    found = params.load(nested, [], [("classifier", f"{{learning_rate: {text}}}")])
    assert found["classifier"]["learning_rate"] == value


def test_a_backbone_is_named_anew_and_free_mappings_and_collections_are_replaced(nested):
    options = {"layers": [1, 1, 1, 1]}
    for text, value in (
        ("{weights: hub}", {"name": "resnet101", "options": options, "weights": "hub"}),
        ("{name: resnet18}", {"name": "resnet18"}),
        ("{options: {stem_width: 8}}", {"name": "resnet101", "options": {"stem_width": 8}}),
    ):
        assert params.load(nested, [], [("backbone", text)]) == {"backbone": value}
    assert params.load(nested, [], [("free", "{b: 2}")]) == {"free": {"b": 2}}
    text = "{kmeans: {clusters: 5}}"
    assert params.load(nested, [], [("recipes", text)]) == {"recipes": {"kmeans": {"clusters": 5}}}
    given = params.load(nested, [], [("classifier", "{augmentation_options: {0.rotate: 1}}")])
    assert given["classifier"]["augmentation_options"] == {"0.rotate": 1}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("classifier: {epoch: 2}", "unknown setting 'classifier.epoch'; did you mean 'epochs'?"),
        ("classifier: {epochs: 0}", "classifier.epochs is 0; expected a number above 0"),
        ("classifier: {learning_rate: 1e-4}", "write numbers without quotes"),
        ("head: {keep: first}", "head.keep is 'first'; expected one of best, last"),
        ("recipes: {kmeans: {cluster: 5}}", "unknown setting 'recipes.kmeans.cluster'"),
        ("recipes: {kmeans: 5}", "mistyped parameter 'recipes'"),
        ("backbone: {network: x}", "unknown setting 'backbone.network'"),
        ("classifier: 3", "mistyped parameter 'classifier'"),
    ],
)
def test_a_wrong_setting_is_found_before_the_notebook_starts(nested, text, says):
    with pytest.raises(ParameterError) as caught:
        load(nested, text)
    assert says in str(caught.value) and "given.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("ich_study.training.config.Training", "has no attribute 'Training'"),
        ("ich_study.nowhere.Model", "No module named"),
        ("ich_study.paths.resolve", "no class of settings"),
    ],
)
def test_a_comment_that_names_no_model_is_an_error(tmp_path, path, says):
    cell = f"classifier: dict = {{}}  # settings of {path}"
    notebook = write_notebook(tmp_path / "n.ipynb", cell)
    with pytest.raises(ParameterError, match=says):
        params.load(notebook, [], [("classifier", "{epochs: 2}")])


layer = st.fixed_dictionaries(
    {},
    optional={
        "size": st.integers(1, 512),
        "epochs": st.integers(1, 99),
        "optimizer": st.sampled_from(["sgd", "adam", "adamw"]),
        "early_stopping_patience": st.none() | st.integers(1, 9),
    },
)


@given(files=st.lists(layer, max_size=3), pair=layer)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_last_layer_to_give_a_setting_decides_and_no_other_setting_moves(nested, files, pair):
    paths = []
    for number, content in enumerate(files):
        paths.append(nested.parent / f"{number}.yaml")
        paths[-1].write_text(yaml.safe_dump({"classifier": content}))
    found = params.load(nested, paths, [("classifier", yaml.safe_dump(pair))])["classifier"]
    wanted = dict(params.declared(nested)["classifier"].default)
    for content in (*files, pair):
        wanted.update(content)
    assert found == wanted


def test_described_says_name_type_default_and_meaning_of_every_parameter_and_setting(tmp_path):
    path = write_notebook(
        tmp_path / "n.ipynb",
        "# where it goes\noutput_dir: str\n"
        "limit: int | None = None  # slices at most\n"
        "# The loop: settings of ich_study.training.config.TrainingConfig\n"
        'training: dict = {\n    "epochs": 3,  # of this notebook\n}\n',
    )
    lines = params.described(path).splitlines()
    assert lines[:4] == [
        "output_dir: str (required)",
        "    where it goes",
        "limit: int | None (default None)",
        "    slices at most",
    ]
    assert "    .epochs: int (default 3)" in lines  # the notebook's default, not the model's
    assert "    .step_epochs: int | list[int] (default 10)" in lines
    assert not any("of this notebook" in line for line in lines[:5])

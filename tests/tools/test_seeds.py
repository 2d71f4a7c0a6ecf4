"""Headlines from several seeds: which run, which row, which seed."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from ich_study import params, trace
from ich_study.errors import ParameterError, RunError
from ich_study.paths import project_root
from ich_study.schema import result_table
from tools import seeds

ROOT = project_root()
SAID = {
    file.parts[-3]: yaml.safe_load(file.read_text())
    for file in sorted((ROOT / "params").glob("*/seeds/headlines.yaml"))
}
ROW = {
    "what": "AUROC",
    "run": "02_lse_unet",
    "where": {"variant": "authors", "metric": "auroc", "layer": "-3"},
}


def write_run(folder: Path, seed: int, value: float) -> None:
    folder.mkdir(parents=True)
    rows = pd.DataFrame(
        {
            "variant": ["printed", "authors"],
            "metric": "auroc",
            "layer": [-3, -3],
            "value": [0.1, value],
            "ci_low": 0.0,
            "ci_high": 1.0,
            "n": 15,
            "seed": seed,
        }
    )
    rows.to_csv(folder / "metrics.csv", index=False)


def test_seed_is_replaced_alone_and_within_texts() -> None:
    changes = {"training": {"seed": "SEED"}, "runs": ["runs/SEED/01"], "arms": ["authors"]}

    assert seeds.with_seed(changes, 3) == {
        "training": {"seed": 3},
        "runs": ["runs/3/01"],
        "arms": ["authors"],
    }


@pytest.mark.parametrize(
    ("scale", "run"), [(scale, run) for scale, said in SAID.items() for run in said["runs"]]
)
def test_command_is_one_that_the_notebook_takes(scale: str, run: str) -> None:
    command = seeds.command_of(scale, run, SAID[scale]["runs"][run], 2)
    files = [ROOT / command[at + 1] for at, word in enumerate(command) if word == "-f"]
    pairs = [tuple(command[at + 1 : at + 3]) for at, word in enumerate(command) if word == "-p"]
    notebook = ROOT / "notebooks" / f"{run.split('/')[0]}.ipynb"

    values = params.complete(notebook, params.load(notebook, files, pairs))

    seed = values["training"]["seed"] if run == "02_lse_unet" else values["seed"]
    assert seed == 2
    assert values["output_dir"] == f"runs/{scale}-seeds/2/{run}"


def test_every_headline_is_of_a_run_that_is_trained_anew() -> None:
    assert set(SAID) == {"open", "phantom"}
    for said in SAID.values():
        assert {row["run"] for row in said["headlines"]} <= set(said["runs"])


def test_headline_is_the_row_that_is_meant(tmp_path: Path) -> None:
    write_run(tmp_path / "run", 2, 0.9)

    found = seeds.headline("open", ROW, tmp_path / "run")

    assert (found["value"], found["seed"]) == (0.9, 2)
    with pytest.raises(ParameterError, match="found 2"):
        seeds.headline("open", {**ROW, "where": {"metric": "auroc"}}, tmp_path / "run")


def test_seeds_stand_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params/open/seeds").mkdir(parents=True)
    said = {"runs": {"02_lse_unet": {}}, "headlines": [ROW]}
    (tmp_path / "params/open/seeds/headlines.yaml").write_text(yaml.safe_dump(said))
    write_run(tmp_path / "runs/open/02_lse_unet", 1, 0.9)
    write_run(tmp_path / "runs/open-seeds/2/02_lse_unet", 2, 0.7)
    monkeypatch.setattr(seeds, "project_root", lambda: tmp_path)

    table = seeds.gathered("open", [2], train=False)

    assert table[["seed", "value"]].to_numpy().tolist() == [[1, 0.9], [2, 0.7]]
    assert seeds.side_by_side(table) == "| AUROC | 0.900 [0.000, 1.000]; 0.700 [0.000, 1.000] |"


def test_what_07_reads_of_a_further_seed_is_gathered(tmp_path, monkeypatch):
    """A claim compares both pointing games; nothing reads `nobodys`, and nobody measured `recall`
    in the scale's own run."""
    monkeypatch.setattr(seeds, "project_root", lambda: tmp_path)
    (tmp_path / "params/open/seeds").mkdir(parents=True)
    said = {"runs": {"02_lse_unet": {}}, "headlines": []}
    (tmp_path / "params/open/seeds/headlines.yaml").write_text(yaml.safe_dump(said))
    same = {"study": "02_lse_unet", "dataset": "bhsd", "unit": "slice", "subset": "positive"}
    same |= {"class": "any", "threshold_source": "none", "method": "lse_unet", "n": 40}
    for place, seed in (("runs/open", 1), ("runs/open-seeds/2", 2)):
        rows = []
        for variant, metric in (
            ("authors", "pointing_game"),
            ("no_consistency_loss", "pointing_game"),
            ("authors", "nobodys"),
        ):
            number = {"metric": metric, "value": 0.1234567 * seed, "ci_low": 0.0, "ci_high": 1.0}
            rows.append({**same, **number, "variant": variant, "seed": seed})
        folder = tmp_path / place / "02_lse_unet"
        folder.mkdir(parents=True)
        result_table(rows).to_csv(folder / "metrics.csv", index=False)

    found = seeds.gathered_rows("open", [2])

    assert found[["run", "variant", "value", "seed"]].to_numpy().tolist() == [
        ["02_lse_unet", "authors", 0.24691, 2],
        ["02_lse_unet", "no_consistency_loss", 0.24691, 2],
    ]
    assert found[["ci_low", "ci_high", "interval"]].isna().all(axis=None)
    with pytest.raises(RunError, match=r"seeds/3/02_lse_unet/metrics\.csv is missing"):
        seeds.gathered_rows("open", [3])


def test_a_row_of_seeds_leads_to_the_record_of_its_own_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(seeds, "project_root", lambda: tmp_path)
    rows = pd.DataFrame({"what": "AUROC", "run": "02_lse_unet", "value": 0.5, "seed": [1, 2, 3]})
    figures = tmp_path / "figures" / "open"
    for folder, seed in (("figures/open", 1), ("runs/open-seeds/2", 2)):
        write_run(tmp_path / folder / "02_lse_unet", seed, 0.5)
        record = {"status": "ok", "command": f"of seed {seed}", "outputs": []}
        (tmp_path / folder / "02_lse_unet" / "run.json").write_text(json.dumps(record))
    rows.to_csv(figures / "seeds.csv", index=False)
    seeds.publish_records("open", [2])
    for row in (1, 2):
        assert trace.main([str(figures / "seeds.csv"), f"{row}"]) == 0
        said = capsys.readouterr().out
        assert f"of seed {row}" in said and "state: ok" in said
    assert trace.main([str(figures / "seeds.csv"), "3"]) == 2
    assert "seeds/3/02_lse_unet; run tools.seeds again" in capsys.readouterr().err
    rows.to_csv(figures / "seed_rows.csv", index=False)
    assert trace.main([str(figures / "seed_rows.csv"), "2"]) == 0
    assert "of seed 2" in capsys.readouterr().out


def test_failed_run_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params/open/seeds").mkdir(parents=True)
    said = {"runs": {"no_such_notebook": {}}, "headlines": []}
    (tmp_path / "params/open/seeds/headlines.yaml").write_text(yaml.safe_dump(said))
    monkeypatch.setattr(seeds, "project_root", lambda: tmp_path)
    monkeypatch.setattr(seeds, "command_of", lambda *_: ["python3", "-c", "raise SystemExit(1)"])

    with pytest.raises(RunError, match="seed 2 of no_such_notebook failed"):
        seeds.gathered("open", [2])

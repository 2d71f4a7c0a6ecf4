"""The comparison of two runs sees a changed cell, weight or pixel, and not what a clock decides."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file

from ich_study.atomic import write_csv, write_json, write_parquet, write_text
from ich_study.published.beside import rebuilt_tables
from ich_study.published.claims import verdicts
from ich_study.published.ledger import ledger_page
from ich_study.schema import result_table
from tools import compare_runs, digests

SCORES = pd.DataFrame(
    {
        "method": ["lse_unet", "random_map", "lse_unet"],
        "metric": ["dice", "dice", "milliseconds"],
        "value": [0.25, 0.125, 3.5],
    }
)


def write_run(folder, value=0.25, milliseconds=3.5, seconds=1.0, weight=2.0, rival=0.125):
    """A small finished run in which one thing may be other than usual."""
    folder.mkdir()
    write_csv(folder / "metrics.csv", SCORES.assign(value=[value, rival, milliseconds]))
    write_csv(folder / "history.csv", pd.DataFrame({"epoch": [0], "seconds": [seconds]}))
    write_parquet(folder / "predictions.parquet", pd.DataFrame({"logit": [np.float32(weight)]}))
    write_json(folder / "maps" / "archive.json", {"done": 3, "seconds": seconds})
    record = {"scan_id": "S1", "fingerprint": str(folder), "sources": {"S1.dcm": [8, seconds]}}
    write_json(folder / "records" / "S1.json", record)
    write_json(folder / "run.json", {"seconds": seconds, "started": str(folder)})
    (folder / "history.png").write_bytes(b"picture")
    save_file({"w": np.float32([weight])}, folder / "weights.safetensors")
    state = {"model": {"w": torch.tensor([weight])}, "optimizer": {"step": torch.tensor(seconds)}}
    torch.save({"training": state, "seconds": seconds}, folder / "state.pt")
    np.savez(folder / "mask.npz", mask=np.eye(2, dtype=bool))
    return folder


def test_runs_that_only_clocks_tell_apart_are_equal(tmp_path, capsys):
    before = write_run(tmp_path / "before")
    after = write_run(tmp_path / "after", milliseconds=9.0, seconds=7.0)
    assert compare_runs.main([str(before), str(after)]) == 0
    assert capsys.readouterr().out == "9 files compared, 0 differences\n"


def write_figures(folder, **milliseconds):
    """What 07 and 08 write of times, of U-Net and the others; returns the verdict on U-Net's."""
    same = {"study": "04_swin_hgi_sam", "dataset": "physionet", "variant": "printed"}
    same |= {"class": "any", "unit": "slice", "threshold_source": "none", "n": 20, "seed": 1}
    others = ("swin_unetr", "swin_sam_binary", "swin_hgi_sam", "swin_grad_cam")
    times = dict.fromkeys(others, milliseconds["others"]) | {"unet": milliseconds["unet"]}
    rows = [
        {**same, "method": name, "metric": "milliseconds", "value": value}
        | {"ci_low": value - 1, "ci_high": value + 1}
        for name, value in times.items()
    ]
    measured = result_table(rows)
    ledger = verdicts(measured)
    (table,), _ = rebuilt_tables(measured)
    folder.mkdir()
    write_csv(folder / "metrics.csv", measured)
    write_csv(folder / "claims.csv", ledger)
    write_text(folder / "ledger.md", ledger_page(ledger, "times"))
    write_csv(folder / f"{table.name}.csv", table.wide())
    write_csv(folder / f"{table.name}_long.csv", table.cells)
    (folder / f"{table.name}.png").write_text(str(milliseconds))
    choose = {"method": ["unet"], "dice": [0.5], "milliseconds": [times["unet"]]}
    write_csv(folder / "choose.csv", pd.DataFrame({**choose, "memory_mib": [times["unet"]]}))
    return ledger.set_index("claim_id").loc["hgi-16", "verdict"]


def test_verdicts_tables_and_pictures_of_times_are_not_compared(tmp_path):
    quick = write_figures(tmp_path / "quick", unet=10.0, others=50.0)
    slow = write_figures(tmp_path / "slow", unet=90.0, others=50.0)
    assert (quick, slow) == ("supported", "contradicted")
    assert compare_runs.compare(tmp_path / "quick", tmp_path / "slow") == (6, [])
    assert digests.digests(tmp_path / "quick") == digests.digests(tmp_path / "slow")
    # the verdict is told where it is not compared
    ledger = pd.read_csv(tmp_path / "slow" / "claims.csv").set_index("claim_id")
    assert ledger.loc["hgi-16", "verdict"] == "contradicted"


def test_a_cell_that_moved_is_counted_with_its_change(tmp_path, capsys):
    before = write_run(tmp_path / "before")
    after = write_run(tmp_path / "after", value=0.3125)
    assert compare_runs.main([str(before), str(after)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "9 files compared, 1 differences",
        "differs: metrics.csv: 1 of 2 rows in value, largest change 0.0625",
    ]


def test_a_last_bit_of_a_weight_is_seen_in_every_kind_of_file(tmp_path):
    before = write_run(tmp_path / "before")
    after = write_run(tmp_path / "after", weight=float(np.nextafter(np.float32(2), np.float32(3))))
    _, lines = compare_runs.compare(before, after)
    assert [line.split(":")[1].strip() for line in lines] == [
        "predictions.parquet",
        "state.pt",
        "weights.safetensors",
    ]


def test_rows_left_out_by_name_do_not_count(tmp_path):
    before = write_run(tmp_path / "before")
    after = write_run(tmp_path / "after", rival=0.5)
    assert len(compare_runs.compare(before, after)[1]) == 1
    assert compare_runs.compare(before, after, "random_map")[1] == []
    assert len(compare_runs.compare(before, after, "lse_unet")[1]) == 1


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda run: (run / "mask.npz").unlink(), "only before: mask.npz"),
        (lambda run: (run / "new.csv").write_text("a\n1\n"), "only after: new.csv"),
        (lambda run: (run / "history.png").write_bytes(b"other"), "differs: history.png: content"),
        (
            lambda run: write_json(run / "maps" / "archive.json", {"done": 2}),
            "differs: maps/archive.json: content",
        ),
        (
            lambda run: write_json(run / "records" / "S1.json", {"scan_id": "S2"}),
            "differs: records/S1.json: content",
        ),
        (
            lambda run: np.savez(run / "mask.npz", mask=np.eye(2, dtype=np.uint8)),
            "differs: mask.npz: 1 of 1 arrays, first mask",
        ),
        (
            lambda run: np.savez(run / "mask.npz", heat=np.eye(2)),
            "differs: mask.npz: arrays ['heat', 'mask'] stand in one of them only",
        ),
        (
            lambda run: write_csv(run / "metrics.csv", SCORES.head(1)),
            "differs: metrics.csv: 2 rows, then 1",
        ),
        (
            lambda run: write_csv(run / "metrics.csv", SCORES.rename(columns={"value": "dice"})),
            "differs: metrics.csv: columns: without ['value'], new ['dice']",
        ),
    ],
)
def test_what_else_may_differ_is_said_in_a_line(tmp_path, change, line):
    before, after = write_run(tmp_path / "before"), write_run(tmp_path / "after")
    change(after)
    assert compare_runs.compare(before, after)[1] == [line]


def test_a_folder_without_runs_is_an_error(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    assert compare_runs.main([str(run), str(tmp_path / "empty")]) == 2
    assert "found no file to compare" in capsys.readouterr().err


def test_an_empty_table_of_numbers_is_read(tmp_path):
    empty = pd.DataFrame({"row": pd.array([], "int64")})
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
        empty.to_parquet(tmp_path / name / "points.parquet")
    found = compare_runs.compare(tmp_path / "before", tmp_path / "after", "random_map")
    assert found == (1, [])

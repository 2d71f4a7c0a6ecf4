"""What a person sees of a run: lines of its own, and how much is left."""

import json
from datetime import UTC, datetime, timedelta

from ich_study.run import progress


def test_what_a_notebook_prints_goes_to_the_log_by_whole_lines(tmp_path, capsys):
    told = progress.Progress("05_mil_detector", tmp_path)
    for text in ("half ", "a line\n\n  ", "indented\rnext", "\n", "rest"):
        told.write(text)
    assert told.log.read_text().splitlines() == ["  half a line", "    indented", "  next"]
    told.say("cell 3/9: Training")
    assert capsys.readouterr().err == f"[05/{tmp_path.name} 0 s] cell 3/9: Training\n"


def test_bars_are_left_out_and_what_stands_between_them_is_kept():
    text = "\rmaps: 12scan [1:00:05, 2.30s/scan]\rWarning: 2 of 3\n\r  \r"
    assert progress.without_bars(text) == "Warning: 2 of 3\n"
    nested = "\rscans: 50%| | 1/2 [00:01<00:01, 1s/scan]\n\rmaps: 1it [00:01, 1it/s]\x1b[A"
    assert progress.without_bars(nested) == progress.without_bars("\x1b[A") == ""
    assert progress.without_bars("a\n\rb: 5%| | 1/20 [00:00<?, ?it/s]") == "a\n"


def record(folder, status, started, seconds=None):
    folder.mkdir(parents=True, exist_ok=True)
    name = "run.json" if status == "ok" else "run-failed.json"
    content = {"status": status, "started": started.isoformat(), "seconds": seconds}
    (folder / name).write_text(json.dumps(content))


def test_time_left_follows_from_what_was_taken_and_what_still_runs(tmp_path):
    now, schedule = datetime.now(UTC), tmp_path / ".schedule.json"
    record(tmp_path / "a", "ok", now - timedelta(hours=3), 100.0)
    progress.write_schedule(schedule, {"a": 5, "b": 10, "c": 10, "d": 30}, at_once=2)
    assert json.loads(schedule.read_text())["seconds"]["a"] == 100.0
    assert progress.remaining(schedule) == "0 of 4 runs"

    # half as fast as it was; b runs for 5 of its 20 minutes, c waits for 20, d for 60
    record(tmp_path / "a", "ok", now + timedelta(seconds=5), 200.0)
    record(tmp_path / "b", "begun", now - timedelta(seconds=300))
    assert progress.remaining(schedule) == "1 of 4 runs, about 60 min left", "b began before"
    began = json.loads(schedule.read_text())
    schedule.write_text(json.dumps({**began, "started": now.timestamp() - 400}))
    assert progress.remaining(schedule) == "1 of 4 runs, about 60 min left", "d alone takes 60"
    schedule.write_text(json.dumps({**began, "started": now.timestamp() - 400, "at_once": 1}))
    assert progress.remaining(schedule) == "1 of 4 runs, about 95 min left"
    for each in "bcd":
        record(tmp_path / each, "ok", now, 100.0)
    (tmp_path / "b" / "run-failed.json").unlink()
    assert progress.remaining(schedule) == "4 of 4 runs"

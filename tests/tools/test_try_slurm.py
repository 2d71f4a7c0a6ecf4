import pytest

from ich_study.errors import StudyError
from tools import try_slurm


def test_a_machine_without_slurm_is_told_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(try_slurm.shutil, "which", lambda program: None)
    assert try_slurm.main([]) == 2 and "apt-get install slurmctld" in capsys.readouterr().out


def test_a_machine_of_a_cluster_is_left_alone(monkeypatch, tmp_path):
    own = tmp_path / "slurm.conf"
    own.write_text("ClusterName=ours\n")
    monkeypatch.setattr(try_slurm, "LINKS", (own,))
    with pytest.raises(StudyError, match="belongs to a cluster"), try_slurm.cluster(1000):
        pass
    assert own.read_text() == "ClusterName=ours\n"


def test_one_job_is_requeued_when_it_has_run_for_some_seconds(monkeypatch):
    asked = []

    def said(*command):
        asked.append(command)
        return "7 0:02\n8 0:09\n9 1:00\n" if command[0] == "squeue" else ""

    monkeypatch.setattr(try_slurm, "said", said)
    assert try_slurm.requeue_a_running_job() == "8" and asked[-1] == ("scontrol", "requeue", "8")


def test_what_is_not_refused_is_an_error(monkeypatch):
    monkeypatch.setattr(try_slurm, "said", lambda *command: "Submitted batch job 4")
    with pytest.raises(StudyError, match="not refused"):
        try_slurm.refusal()

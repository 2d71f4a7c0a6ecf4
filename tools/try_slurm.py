"""Tries the SLURM profile on a real cluster of one machine:
`python -m tools.try_slurm --scale smoke`.

Debian's `slurmctld`, `slurmd` and `slurm-client`, with a configuration of their own in a temporary
folder, on loopback, without accounting: a node in the partition `cpu`, and in `gpu` one that says
it has a GPU. The scale runs through `profiles/slurm` as on any cluster. The first job that runs for
some seconds is requeued, as after a node's failure, and has to end all the same. A job that asks
the partition without GPUs for one has to be refused. Words after `--` go to Snakemake, such as the
run.json files that are wanted. For root, since SLURM looks in /etc/slurm. Exit codes: 0 as it
should be, 1 not, 2 no SLURM here.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ich_study.errors import StudyError

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "sinfo")
SETTINGS = """ClusterName=trial
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmdSpoolDir={folder}/spool-%n
SlurmdLogFile={folder}/%n.log
SlurmctldLogFile={folder}/slurmctld.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
JobRequeue=1
ReturnToService=2
SlurmdParameters=config_overrides
NodeName=DEFAULT CPUs={cpus} RealMemory={memory}
NodeName=plain NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]}
NodeName=withgpu NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} Gres=gpu:1
PartitionName=cpu Nodes=plain Default=YES State=UP MaxTime=INFINITE
PartitionName=gpu Nodes=withgpu State=UP MaxTime=INFINITE
"""
LINKS = (Path("/etc/slurm/slurm.conf"), Path("/etc/slurm/gres.conf"))
REFUSED = "Requested node configuration is not available"
WAIT_S = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints what was tried and how it went; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="smoke")
    parser.add_argument(
        "--memory", type=int, default=64000, help="MB that each node claims to have"
    )
    parser.add_argument("wanted", nargs="*", help="for Snakemake, after --")
    asked = parser.parse_args(arguments)
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        print(
            f"no SLURM here, {', '.join(missing)} missing: apt-get install slurmctld slurmd"
            " slurm-client"
        )
        return 2
    try:
        with cluster(asked.memory):
            refusal()
            study(asked.scale, asked.wanted)
    except StudyError as error:
        print(f"not as it should be: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def cluster(memory_mb: int) -> Iterator[None]:
    """A controller and two nodes; inside, SLURM's commands speak to them. They end with the
    block."""
    daemons: list[subprocess.Popen[bytes]] = []
    if any(link.exists() for link in LINKS):
        raise StudyError(f"{LINKS[0].parent} is configured: this machine belongs to a cluster")
    with tempfile.TemporaryDirectory(prefix="slurm-") as name:
        folder = Path(name)
        write_settings(folder, memory_mb)
        try:
            # the plugin takes SLURM_CONF from its jobs, so that only this place is left
            for link in LINKS:
                link.symlink_to(folder / link.name)
            for command in (
                ["slurmctld", "-D"],
                ["slurmd", "-D", "-N", "plain"],
                ["slurmd", "-D", "-N", "withgpu"],
            ):
                daemons.append(
                    subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
                )
            wait_for_nodes(folder)
            yield
        finally:
            for daemon in reversed(daemons):
                daemon.terminate()
                daemon.wait()
            for link in LINKS:
                link.unlink(missing_ok=True)


def write_settings(folder: Path, memory_mb: int) -> None:
    """slurm.conf and gres.conf in `folder`, of ports that nobody else has."""
    taken = [socket.socket() for _ in range(3)]
    for each in taken:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in taken]
    for each in taken:
        each.close()
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    values = {
        "host": socket.gethostname().split(".")[0],
        "user": user,
        "folder": folder,
        "ports": ports,
        "cpus": os.cpu_count(),
        "memory": memory_mb,
    }
    (folder / "state").mkdir()
    (folder / "slurm.conf").write_text(SETTINGS.format(**values))
    (folder / "gres.conf").write_text("NodeName=withgpu Name=gpu File=/dev/null\n")


def wait_for_nodes(folder: Path) -> None:
    """Returns when both nodes are idle; StudyError, with the logs' last lines, when they are not in
    time."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if said("sinfo", "-N", "-h", "-o", "%N %T").split().count("idle") == 2:
            print("a controller and two nodes are up")
            return
        time.sleep(1)
    logs = [log.read_text(errors="replace")[-1500:] for log in sorted(folder.glob("*.log"))]
    raise StudyError("the nodes did not come up:\n" + "\n".join(logs))


def said(*command: str) -> str:
    """What a command prints, on either stream, whether it fails or not."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def refusal() -> None:
    """A GPU of the partition without one; StudyError where that is not refused."""
    answer = said("sbatch", "-p", "cpu", "--gpus=1", "--wrap", "true")
    if REFUSED not in answer:
        raise StudyError(f"a GPU of a partition without any was not refused: {answer}")
    print(f"a GPU asked of the partition cpu is refused: {answer.strip()}")


def study(scale: str, wanted: Sequence[str]) -> None:
    """The scale through the profile, one job requeued on the way. StudyError where it fails."""
    profile = ["--workflow-profile", "profiles/slurm", "--config", f"scale={scale}"]
    command = [sys.executable, "-m", "snakemake", *profile, *(["--", *wanted] if wanted else [])]
    with subprocess.Popen(command) as running:
        requeued = None
        while running.poll() is None:
            time.sleep(1)
            if requeued is None:
                requeued = requeue_a_running_job()
    if running.returncode:
        raise StudyError(f"{' '.join(command)} ended with {running.returncode}")
    print(f"scale {scale} ran through profiles/slurm; requeued on the way: job {requeued}")
    if requeued is None:
        raise StudyError("no job ran long enough to be requeued")


def requeue_a_running_job() -> str | None:
    """Puts one job that has run for some seconds back into the queue; its number, or None."""
    for line in said("squeue", "-h", "-t", "RUNNING", "-o", "%i %M").splitlines():
        number, _, elapsed = line.partition(" ")
        if number.isdigit() and elapsed not in ("0:00", "0:01", "0:02", "0:03"):
            answer = said("scontrol", "requeue", number)
            print(f"requeued job {number}: {answer.strip() or 'taken'}")
            return number
    return None


if __name__ == "__main__":
    sys.exit(main())

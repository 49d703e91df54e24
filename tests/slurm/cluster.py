"""A throw-away SLURM cluster of several nodes on one machine, for tests.

Needs root and Debian's packages slurmctld, slurmd, slurm-client and munge; no systemd, cgroups or database.
Everything lies in one folder, all daemons listen on this machine alone, and only what was started is stopped.
Where the host's name does not resolve to this machine's address, a line is added to /etc/hosts, and stays.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

DAEMONS = ("/usr/sbin/munged", "/usr/sbin/slurmctld", "/usr/sbin/slurmd", "/usr/bin/sbatch")
COMMANDS = ("sacctmgr", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun", "sshare")
ADDRESS, PORT = "127.0.0.1", 16817
NODES = {"c1": 0, "c2": 0, "g1": 1, "g2": 1}  # name, and its GPUs
CORES, MEMORY = 4, 6000

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}({address})
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill,UsePss
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5,bf_interval=5,batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
# A node that a test takes down stays down.
ReturnToService=1
KillWait=10
# Longer than Snakemake waits between two looks, which would miss a finished job otherwise.
MinJobAge=300
JobRequeue=0
GresTypes=gpu
"""


class Cluster:
    """Two nodes with CPUs, two with a GPU that is none; started by `with`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"

    @property
    def environment(self) -> dict[str, str]:
        """What commands need to find this cluster.

        The plugin drops SLURM_CONF before it calls srun, so wrappers that are first on PATH set it again.
        """
        return {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}

    def __enter__(self) -> Cluster:
        missing = [path for path in DAEMONS if not Path(path).exists()]
        if missing or os.geteuid() != 0:
            raise RuntimeError(f"a SLURM cluster needs root and {', '.join(missing) or 'its daemons'}")
        for name in ("etc", "munge", "state", "spool", "log", "run", "dev", "bin"):
            (self.folder / name).mkdir(parents=True)
            (self.folder / name).chmod(0o755)
        self._resolve_host()
        self._configure()
        try:
            self._start_munge()
            self.start_controller()
            for node in NODES:
                self.start_node(node)
            wait_for(lambda: self.states().count("idle") == len(NODES), 30, "nodes to come up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(subprocess.SubprocessError, OSError):
            self.run("scancel", "--user", "root")
            wait_for(lambda: not self.run("squeue", "--noheader"), 20, "jobs to end")
        for name in (*(f"slurmd-{node}" for node in NODES), "slurmctld", "munged"):
            self._stop(name)
        for pid in self._job_processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def run(self, *command: str) -> str:
        """What a SLURM command prints."""
        done = subprocess.run(
            [self.folder / "bin" / command[0], *command[1:]],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
        return done.stdout

    def states(self) -> list[str]:
        """State of every node."""
        return self.run("sinfo", "--noheader", "--Node", "--format=%T").split()[: len(NODES)]

    def jobs(self, state: str = "running") -> dict[str, str]:
        """Jobs in a state and the node of each."""
        lines = self.run("squeue", "--noheader", f"--states={state}", "--format=%A %N").splitlines()
        return {job: node for job, _, node in (line.partition(" ") for line in lines)}

    def start_controller(self) -> None:
        subprocess.run(["/usr/sbin/slurmctld", "-f", self._conf], check=True)
        # It goes to the background with status 0 and may die there.
        wait_for(lambda: "is UP" in self.run("scontrol", "ping"), 20, "slurmctld to answer")

    def stop_controller(self) -> None:
        self._stop("slurmctld")

    def start_node(self, name: str) -> None:
        (self.folder / "spool" / name).mkdir(exist_ok=True)
        subprocess.run(["/usr/sbin/slurmd", "-f", self._conf, "-N", name], check=True)

    @property
    def _conf(self) -> Path:
        return self.folder / "etc/slurm.conf"

    def _resolve_host(self) -> None:
        """Daemons bind to what the host's name resolves to: it must be the configuration's address."""
        host = socket.gethostname()
        with contextlib.suppress(OSError):
            if socket.gethostbyname(host) == ADDRESS:
                return
        hosts = Path("/etc/hosts")
        hosts.write_text(f"{ADDRESS} {host}\n{hosts.read_text()}")  # in place: it can be a bind mount

    def _configure(self) -> None:
        host = socket.gethostname()
        lines = [CONFIGURATION.format(host=host, address=ADDRESS, port=PORT, folder=self.folder)]
        gpus = []
        for number, (node, count) in enumerate(NODES.items(), 11):
            resource = f" Gres=gpu:fake:{count}" if count else ""
            lines.append(
                f"NodeName={node} NodeHostname={host} NodeAddr={ADDRESS} Port={PORT + number} CPUs={CORES} "
                f"RealMemory={MEMORY} State=UNKNOWN{resource}\n"
            )
            if count:
                device = self.folder / "dev" / f"gpu-{node}"
                os.mknod(device, 0o20666, os.makedev(1, 3))  # must be a device: another /dev/null
                gpus.append(f"NodeName={node} Name=gpu Type=fake File={device}\n")
        for kind, default in (("c", "YES"), ("g", "NO")):
            names = ",".join(node for node in NODES if node.startswith(kind))
            name = "cpu" if kind == "c" else "gpu"
            lines.append(f"PartitionName={name} Nodes={names} Default={default} MaxTime=02:00:00 State=UP\n")
        self._conf.write_text("".join(lines))
        (self.folder / "etc/gres.conf").write_text("".join(gpus))
        for command in COMMANDS:
            self._script(command, f'SLURM_CONF={self._conf} exec /usr/bin/{command} "$@"')
        # Without a database sacct fails, and the plugin takes any that it finds.
        self._script("which", '[ "$1" = sacct ] && exit 1\nexec /usr/bin/which "$@"')

    def _script(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def _start_munge(self) -> None:
        key = self.folder / "munge/key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        options = {
            "key-file": key,
            "socket": self.folder / "munge/socket",
            "pid-file": self.folder / "run/munged.pid",
            "log-file": self.folder / "log/munged.log",
            "seed-file": self.folder / "munge/seed",
        }
        subprocess.run(
            ["/usr/sbin/munged", "--force", *(f"--{name}={path}" for name, path in options.items())],
            check=True,
        )

    def _stop(self, name: str) -> None:
        """End the daemon that a pid file names, if it still is that daemon."""
        file = self.folder / "run" / f"{name}.pid"
        program = name.partition("-")[0]

        def alive() -> bool:
            try:
                return program in Path("/proc", file.read_text().strip(), "cmdline").read_text()
            except OSError:
                return False

        if alive():
            os.kill(int(file.read_text()), signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                wait_for(lambda: not alive(), 15, f"{name} to end")
        if alive():
            os.kill(int(file.read_text()), signal.SIGKILL)
        file.unlink(missing_ok=True)

    def _job_processes(self) -> list[int]:
        """Processes that jobs of this cluster left, known by their environment."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                values = (path / "environ").read_bytes().split(b"\0")
                if f"SLURM_CONF={self._conf}".encode() in values and int(path.name) != os.getpid():
                    found.append(int(path.name))
        return found


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until the condition holds; one that fails is asked again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(subprocess.SubprocessError):
            if condition():
                return
        time.sleep(0.1)
    raise TimeoutError(f"waited {seconds} s for {what}")


def install() -> None:
    """Install SLURM from Debian's packages where it is missing."""
    if all(Path(path).exists() for path in DAEMONS):
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise SystemExit(
            "error: SLURM is not installed; its tests need slurmctld, slurmd, slurm-client and munge"
        )
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        if subprocess.run(["apt-get", "--quiet", *command], env=environment).returncode:
            raise SystemExit(
                f"error: apt-get {' '.join(command)} failed; the tests of SLURM need these packages"
            )


PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")

if __name__ == "__main__":
    install()

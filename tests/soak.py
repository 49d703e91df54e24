"""Disturb the workflow at random, over and over, and compare what it makes with an undisturbed run.

    python tests/soak.py --minutes 60 [--seed 0]

Each round makes the tiny data set in a new folder. Some seconds after every start of Snakemake something
happens: it dies, a job dies, both die, or it is told to end; then it is started again, while jobs of before
may still run. The last start is left alone. Then every artifact must have the bits of the undisturbed run.
"""

import argparse
import collections
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from workflow.running import ROOT, Workflow, comparable, differing, heed_interrupts

TARGETS = ("results/tiny/lds_das.csv", "results/tiny/lds_das_gn.csv", "results/tiny/scores/das/gen.h5")
DISTURBANCES = 6  # of a round
LONGEST = 15  # seconds until one


def members(session):
    """Processes of a session that are scripts of the workflow, and so jobs."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        with contextlib.suppress(ProcessLookupError, psutil.Error):
            script = "workflow/scripts/" in " ".join(process.info["cmdline"] or [])
            if script and process.pid != session and os.getsid(process.pid) == session:
                found.append(process)
    return found


def kill(processes):
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            process.kill()


def kill_snakemake(process, choice):
    process.kill()


def kill_a_job(process, choice):
    jobs = members(process.pid)
    kill(choice.sample(jobs, min(1, len(jobs))))


def kill_all(process, choice):
    os.killpg(process.pid, signal.SIGKILL)


def interrupt(process, choice):
    os.killpg(process.pid, signal.SIGINT)


def terminate(process, choice):
    process.terminate()


ACTIONS = (kill_snakemake, kill_a_job, kill_all, interrupt, terminate)


def start(workflow):
    with open(workflow.folder / "output", "a") as output:
        return subprocess.Popen(
            workflow.command(*TARGETS),
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=heed_interrupts,
        )


def disturbed(folder, choice, counts):
    """A workflow that was disturbed and has ended all the same; its sessions' processes are gone."""
    workflow, sessions = Workflow(folder), []
    workflow.config["execution"] = {"checkpoint_seconds": 0}
    for left in reversed(range(DISTURBANCES + 1)):
        process = start(workflow)
        sessions.append(process.pid)
        counts["starts"] += 1
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(choice.uniform(1, LONGEST) if left else 900)
        if process.poll() is None:
            if not left:
                sys.exit(f"error: {folder}: did not end within 15 minutes; see output there")
            action = choice.choice(ACTIONS)
            action(process, choice)
            counts[action.__name__] += 1
            if action is kill_a_job:  # it ends by itself, when other jobs have
                process.wait(600)
        elif process.returncode:
            sys.exit(f"error: {folder}: ended with {process.returncode} undisturbed; see output there")
        process.wait(600)
        if process.returncode == 0:
            break
        workflow.make("--unlock")
    for session in sessions:
        psutil.wait_procs(members(session), timeout=120)
    return workflow


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=60)
    options.add_argument("--seed", type=int, default=0)
    arguments = options.parse_args()
    choice, counts = random.Random(arguments.seed), collections.Counter()
    base = Path(tempfile.mkdtemp(prefix="das-soak-"))
    undisturbed = Workflow(base / "undisturbed")
    undisturbed.folder.mkdir()
    undisturbed.make(*TARGETS)
    end = time.monotonic() + 60 * arguments.minutes
    while time.monotonic() < end:
        folder = base / f"round-{counts['rounds']:03d}"
        folder.mkdir()
        made = disturbed(folder, choice, counts)
        wrong = differing(undisturbed.folder / "results", made.folder / "results")
        left = sorted(path.name for path in (folder / ".resume").glob("*"))
        if wrong or left:
            sys.exit(f"error: {folder}: other bits in {wrong}, left in .resume: {left}")
        counts["artifacts"] += len(comparable(folder / "results"))
        counts["rounds"] += 1
        shutil.rmtree(folder)
        print(dict(counts), flush=True)
    shutil.rmtree(base)
    print(f"all artifacts of {counts['rounds']} rounds have the bits of the undisturbed run")


if __name__ == "__main__":
    main()

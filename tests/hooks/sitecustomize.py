"""Python runs this at start when its folder is on PYTHONPATH: what tests need within the workflow's jobs.

Every piece of unfinished work is put in place by `os.replace` under `.resume/`, so counting those calls stops
a job at an exact point of the computation, whatever the speed of the machine.

KILL_AFTER_STATES   the job dies after so many saved states, and with it its process group: Snakemake too
STALL               "SCRIPT STATES FOLDER": SCRIPT stops after so many saved states and waits, once, until
                    the file FOLDER/go is there or a signal tells it to end; FOLDER/stalled says that it does
STALL_FILL          bytes of memory that SCRIPT takes when it stops
LATE                artifacts appear so many seconds after the job that made them has ended
WITNESS             a file to which every script adds where it ran, as a line of JSON
POLL                seconds between two looks of Snakemake at its jobs on a cluster
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

KILL, STALL, LATE = (os.environ.get(name, "") for name in ("KILL_AFTER_STATES", "STALL", "LATE"))


def bear_witness(script):
    names = ("SLURM_JOB_ID", "SLURMD_NODENAME", "CUDA_VISIBLE_DEVICES")
    line = json.dumps({"script": script} | {name: os.environ.get(name) for name in names})
    with open(os.environ["WITNESS"], "a") as file:
        file.write(line + "\n")


def kill():
    os.killpg(0, signal.SIGKILL)


def stall(folder):
    if os.path.exists(f"{folder}/stalled"):
        return
    open(f"{folder}/stalled", "w").close()
    filled = b"x" * int(os.environ.get("STALL_FILL", "0"))
    while not os.path.exists(f"{folder}/go") and sys.modules["das.jobs.stop"]._asked is None:
        time.sleep(0.05)
    del filled


def after_states(count, act):
    """Call `act` after the job has saved its state so many times."""
    replace, left = os.replace, count

    def replace_and_act(source, target, **options):
        nonlocal left
        replace(source, target, **options)
        if ".resume" in os.fspath(target):
            left -= 1
            if left == 0:
                act()

    os.replace = replace_and_act


def replace_late(seconds):
    """Leave the last step of writing an artifact to a process that outlives the job."""
    replace = os.replace

    def later(source, target, **options):
        if not os.fspath(target).startswith("results/"):
            return replace(source, target, **options)
        os.rename(source, f"{target}.late")
        move = f"sleep {seconds}; mv {shlex.quote(f'{target}.late')} {shlex.quote(str(target))}"
        subprocess.Popen(["sh", "-c", move], start_new_session=True)
        return None

    os.replace = later


def poll_every(seconds):
    """Snakemake waits longer after every look in vain, which no option changes."""
    import asyncio

    from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

    async def sleep(executor):
        await asyncio.sleep(seconds)

    RemoteExecutor.sleep = sleep


first = sys.orig_argv[1] if len(sys.orig_argv) > 1 else ""
script = os.path.basename(first) if "workflow/scripts/" in first else ""
if script and script != "on_gpus.py":
    if "WITNESS" in os.environ:
        bear_witness(script)
    if KILL:
        after_states(int(KILL), kill)
    if STALL.startswith(f"{script} "):
        after_states(int(STALL.split(" ", 2)[1]), lambda: stall(STALL.split(" ", 2)[2]))
    if LATE:
        replace_late(float(LATE))
if "POLL" in os.environ and "--workflow-profile" in sys.orig_argv:
    poll_every(float(os.environ["POLL"]))

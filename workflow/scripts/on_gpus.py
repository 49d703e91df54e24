"""Run a command on GPUs that no other job of this machine has: on_gpus.py COUNT COMMAND ..."""

import logging
import os
import sys

from das.errors import UserError
from das.jobs import gpu_slots

logging.basicConfig(format="%(message)s")
count, command = int(sys.argv[1]), sys.argv[2:]
# A machine without GPUs runs the command as it is, which then uses the CPU or says what is missing.
gpus = gpu_slots.visible_gpus(os.environ) if count else []
try:
    with gpu_slots.hold(count if gpus else 0, gpus, os.environ) as held:
        chosen = {gpu_slots.VISIBLE: ",".join(held)} if held else {}
        os.execvpe(command[0], command, os.environ | chosen)
except UserError as error:
    sys.exit(f"error: {error}")

"""Chromium, in which tests look at pages as a user does.

`python tests/browser.py` installs it from Debian's packages where it is missing.
"""

import os
import shutil
import subprocess

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find():
    """The path of Chromium or Chrome; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def install():
    """Install it where it is missing."""
    if find():
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise SystemExit(f"error: no browser; the test of the page needs one of {', '.join(NAMES)}")
    for command in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        if subprocess.run(["apt-get", "--quiet", *command], env=environment).returncode:
            raise SystemExit(
                f"error: apt-get {' '.join(command)} failed; the test of the page needs Chromium"
            )


if __name__ == "__main__":
    install()

"""Run each make target in a clean clone of its own: no target may need what another one set up.

    python tests/clean_clones.py [--targets check docs …] [--folder FOLDER] [--minutes 240]

The clone is of the last commit. Its log stays in FOLDER/TARGET.log; the clone itself, with its
virtual environment, is removed. Prints a table, and ends with 1 if a target failed.

Two targets do not end by themselves or need what no package brings: `docs-serve` passes once the
server answers, and `docs-check` needs Chromium.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVER = ("127.0.0.1", 8000)


def make_targets(makefile: str) -> list[str]:
    """The targets that `make help` lists, but for the one that runs this script."""
    names = re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)
    return [name for name in names if name != "clean-clones"]


def server_answers() -> bool:
    """Whether something serves the site on this machine."""
    connection = http.client.HTTPConnection(*SERVER, timeout=5)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False


def own_environment() -> dict[str, str]:
    """This process's environment without what would lead a clone to another tree or make."""
    left_out = ("MAKE", "MFLAGS", "PYTHONPATH", "VIRTUAL_ENV", "GIT_")
    return {name: value for name, value in os.environ.items() if not name.startswith(left_out)}


def run_target(target: str, clone: Path, log: Path, minutes: float) -> str | None:
    """Run a target in a clone.

    Returns:
        What is wrong, in words; `None` if it passed.
    """
    serves = target == "docs-serve"
    if serves and server_answers():
        return f"expected port {SERVER[1]} to be free, but something answers there"
    deadline = time.monotonic() + 60 * minutes
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["make", target],
            cwd=clone, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            env=own_environment(), start_new_session=True,
        )  # fmt: skip
        while process.poll() is None and time.monotonic() < deadline:
            if serves and server_answers():
                break
            time.sleep(1)
        passed = process.poll() == 0 or (serves and process.poll() is None and server_answers())
        ended = process.poll() is not None
        if not ended:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()
    if passed:
        return None
    return f"exit status {process.returncode}" if ended else f"not done after {minutes:g} minutes"


def leftovers(clone: Path) -> str | None:
    """Files that git neither knows nor ignores, in words; a target may leave none."""
    done = subprocess.run(
        ["git", "status", "--porcelain"],
        cwd=clone, stdout=subprocess.PIPE, encoding="utf-8", check=True, env=own_environment(),
    )  # fmt: skip
    return f"changed or left: {done.stdout.split(chr(10))[0]}" if done.stdout else None


def main() -> None:
    """Run the targets, one after the other."""
    known = make_targets((ROOT / "Makefile").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets", nargs="+", choices=known, default=known, metavar="TARGET")
    parser.add_argument("--folder", type=Path, help="for clones and logs; a temporary one if unset")
    parser.add_argument("--minutes", type=float, default=240.0, help="the limit for one target")
    options = parser.parse_args()
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="clean-clones-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for target in options.targets:
        print(f"clean clone: make {target}, log in {folder / target}.log", flush=True)
        clone, log = folder / target, folder / f"{target}.log"
        start = time.monotonic()
        shutil.rmtree(clone, ignore_errors=True)
        log.unlink(missing_ok=True)
        subprocess.run(
            ["git", "clone", "--quiet", str(ROOT), str(clone)], check=True, env=own_environment()
        )
        wrong = run_target(target, clone, log, options.minutes) or leftovers(clone)
        rows.append((target, wrong, time.monotonic() - start))
        print(f"clean clone: make {target}: {wrong or 'passed'}", flush=True)
        shutil.rmtree(clone, ignore_errors=True)
    print(f"\n{'target':16} {'seconds':>7}  result")
    for target, wrong, seconds in rows:
        print(f"{target:16} {seconds:7.0f}  {wrong or 'passed'}")
    sys.exit(any(wrong for _, wrong, _ in rows))


if __name__ == "__main__":
    main()

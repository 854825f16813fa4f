"""The command in a process of its own that need not import everything again, which takes seconds.

A server process imports the command once, and each run is a fork of it. `atexit` functions do not
run, and the interpreter's own flags cannot be given: where that matters, start `python` itself.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from seqlearn.cli import main

CODE = "import sys, seqlearn.cli; sys.exit(seqlearn.cli.main())"


class Ended(NamedTuple):
    """What a run left: its exit status, and the bytes of standard output and error."""

    returncode: int
    stdout: bytes
    stderr: bytes


def run_command(*words: str, given: bytes = b"", cwd: Path | None = None, **env: str) -> Ended:
    """Run `seqlearn` with these words, this standard input and these environment variables."""
    variables = dict(os.environ) | env
    if sys.platform != "linux":  # elsewhere a fork after the imports is not safe
        done = subprocess.run(
            [sys.executable, "-c", CODE, *words],
            input=given, capture_output=True, cwd=cwd, env=variables, check=False,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout, done.stderr)
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["seqlearn.cli"])
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder) / name for name in ("stdin", "stdout", "stderr")]
        streams[0].write_bytes(given)
        arguments = (list(words), [str(path) for path in streams], str(cwd or Path.cwd()))
        process = forks.Process(target=_run, args=(*arguments, variables))
        process.start()
        process.join()
        return Ended(int(process.exitcode or 0), streams[1].read_bytes(), streams[2].read_bytes())


def _run(words: list[str], streams: list[str], cwd: str, variables: dict[str, str]) -> None:
    """In the fork: take the given streams, folder and variables, as a new process would have."""
    for number, name in enumerate(streams):
        flags = os.O_WRONLY | os.O_CREAT if number else os.O_RDONLY
        os.dup2(os.open(name, flags), number)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(variables)
    sys.path.insert(0, "")
    sys.argv = ["seqlearn", *words]
    sys.exit(main())

"""Ctrl-C at a moment that shows in a command's output."""

import os
import signal
import subprocess


def interrupt(command, text, cwd, environment=None):
    """Start a command and send it SIGINT once a line has the text; return exit status and the output that follows."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=cwd, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if text in line:
                os.kill(process.pid, signal.SIGINT)
                break
        rest = process.stdout.read()
    return process.returncode, rest

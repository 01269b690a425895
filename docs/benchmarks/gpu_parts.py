"""Programs one after the other within a budget of seconds: what `gpu.py run` is made of."""

import json
import os
import signal
import subprocess
import sys
import time

# What tells in one line how the tests or a sanitizer ended.
SUMMARIES = ("test result: ", "========= ERROR SUMMARY", "========= RACECHECK SUMMARY")
LINES_OF_A_FAILURE = 60


def start(command, environment, output):
    """A process in a group of its own, with whatever it starts in turn."""
    command = [str(part) for part in command]
    environment = {**os.environ, **environment}
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
    )


def stop(process):
    """Ends a process and its group, where it still runs."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def last_object(lines):
    """The last line that is a JSON object."""
    for line in reversed(lines):
        if line.startswith("{"):
            try:
                return json.loads(line)
            except json.JSONDecodeError:
                pass
    return None


class Parts:
    """Each part has a limit of its own, and is left out where it no longer fits; none stops the others."""

    def __init__(self, out, budget):
        self.deadline = time.monotonic() + budget
        self.log = out / "log.txt"
        self.log.write_bytes(b"")
        self.done = []

    def seconds_left(self):
        return self.deadline - time.monotonic()

    def note(self, name, ended, seconds=0.0, said=(), result=None):
        part = {"name": name, "ended": ended, "seconds": round(seconds, 1), "said": list(said), "result": result}
        self.done.append(part)
        told = json.dumps(result) if result else " ".join(said)
        print(f"{ended:12} {name:44} {seconds:6.1f} s  {told}", flush=True)
        return part

    def run(self, name, command, expected, limit, environment=None):
        """Runs one program that is expected to take so many seconds, and at most `limit`."""
        seconds = min(limit, self.seconds_left())
        if seconds < expected:
            return self.note(name, "skipped", said=[f"some {expected} s needed, {max(seconds, 0):.0f} s left"])
        with self.log.open("ab") as log:
            log.write(f"\n## {name}\n$ {' '.join(map(str, command))}\n".encode())
            log.flush()
            first, began = log.tell(), time.monotonic()
            try:
                process = start(command, environment or {}, log)
            except OSError as error:
                return self.note(name, "failed", said=[str(error)])
            try:
                ended = "passed" if process.wait(seconds) == 0 else "failed"
            except subprocess.TimeoutExpired:
                ended = "out of time"
            stop(process)
        lines = self.log.read_bytes()[first:].decode(errors="replace").splitlines()
        said = [line for line in lines if line.startswith(SUMMARIES)]
        if any(" 0 passed" in line for line in said):
            ended, said = "failed", [*said, "no test ran: their names have changed"]
        part = self.note(name, ended, time.monotonic() - began, said, last_object(lines))
        if ended != "passed":
            print("\n".join(f"    {line}" for line in lines[-LINES_OF_A_FAILURE:]), file=sys.stderr, flush=True)
        return part

    def failed(self):
        """What failed or did not end, PyTorch left out."""
        of_ours = (part for part in self.done if "PyTorch" not in part["name"])
        return [part["name"] for part in of_ours if part["ended"] in ("failed", "out of time")]

"""Commands that `run` runs: within a part's time, and with all that they print kept in one file."""

import json
import re
import shutil
import subprocess
import tempfile
import threading
import time


class Failed(Exception):
    """A part that did not do what it should: why, and what it has found all the same."""

    def __init__(self, why, **found):
        super().__init__(why)
        self.found = found


class Ended:
    """A command that has ended, or was ended because its time was over (`late`) or it had done enough (`stopped`)."""

    def __init__(self, words, status, out, error, late, stopped):
        self.words, self.status, self.out, self.error, self.late, self.stopped = words, status, out, error, late, stopped

    def failure(self):
        """Why it failed, in short; None if it did not."""
        if self.late:
            return f"not done in the part's time: {self.words}"
        return None if self.status == 0 else f"{self.words} ended with {self.status}: {self.reason()}"

    def reason(self):
        """The first panic, or the last that it said."""
        panic = re.search(r"^thread '([^']*)'[^\n]* panicked at ([^\n]*):\n(.*?)(?=^note: |^stack backtrace:|^\s*$|\Z)",
                          self.error + "\n" + self.out, re.MULTILINE | re.DOTALL)
        if panic:
            thread, place, message = panic.groups()
            return f"{thread}, {place}: {' '.join(message.split())[:400]}"
        return " ".join((self.error.strip() or self.out.strip())[-400:].split())

    def lines(self):
        """The JSON objects that it printed, one a line; the last may have been cut off."""
        found = []
        for line in self.out.splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                pass
        return [row for row in found if isinstance(row, dict)]

    def checked(self, found):
        """What was found, if the command did not fail; else it is told with the failure."""
        why = self.failure()
        if why:
            raise Failed(why, **found)
        return found


class Commands:
    def __init__(self, log, environment):
        self.log, self.environment = log, environment
        self.part, self.deadline = None, 0
        self.log.write_text("")

    def begin(self, part, seconds):
        """From now on commands are this part's, and have so much time together."""
        self.part, self.deadline = part, time.monotonic() + seconds

    def left(self):
        return max(0, self.deadline - time.monotonic())

    def run(self, command, until=lambda: False, **environment):
        """Runs a command until it ends, until `until()`, or until the part's time is over."""
        command = [str(word) for word in command]
        start, late, stopped = time.monotonic(), False, False
        # Files, which no child of the command can keep open to be waited for.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
            process = subprocess.Popen(command, env={**self.environment, **environment}, stdin=subprocess.DEVNULL,
                                       stdout=out, stderr=error)
            try:
                while process.poll() is None and not (late or stopped):
                    stopped, late = until(), self.left() == 0
                    time.sleep(0.01)
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait()
            texts = []
            for file in [out, error]:
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
        seconds = time.monotonic() - start
        how = "its time was over" if late else "stopped" if stopped else f"status {process.returncode}"
        with self.log.open("a") as log:
            log.write(f"\n=== {self.part}: {' '.join(command)} ({seconds:.1f} s, {how})\n")
            for name, text in zip(["stdout", "stderr"], texts):
                if text:
                    log.write(f"--- {name}\n{text.rstrip()}\n")
        name = " ".join([command[0].rsplit("/", 1)[-1], *command[1:3]])
        return Ended(name, process.returncode, *texts, late, stopped)

    def check(self, command, **environment):
        """What a command prints that must not fail."""
        ended = self.run(command, **environment)
        ended.checked({})
        return ended.out


class Watch:
    """How busy the card is while something runs, five times a second; nothing where there is no nvidia-smi."""

    def __init__(self, card):
        self.card = card

    def __enter__(self):
        self.samples, self.process = [], None
        program = shutil.which("nvidia-smi")
        if program:
            query = ["--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "-lms", "200", "-i", self.card]
            self.process = subprocess.Popen([program, *query], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            self.thread = threading.Thread(target=self.read, daemon=True)
            self.thread.start()
        return self

    def read(self):
        for line in self.process.stdout:
            numbers = re.findall(r"\d+", line)
            if len(numbers) == 2:
                self.samples.append((time.monotonic(), int(numbers[0]), int(numbers[1])))

    def __exit__(self, *_):
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.thread.join(timeout=2)

    def over_last(self, seconds):
        """How busy the card was in its last `seconds` of work, and the most memory in all."""
        # The card's work ends before the program, which still gives back its memory.
        end = max((at for at, busy, _ in self.samples if busy > 0), default=0)
        # A sample tells of the moment before it.
        inside = [busy for at, busy, _ in self.samples if end - seconds + 0.2 <= at <= end]
        if not inside:
            return None
        return {"busy": sum(inside) / len(inside), "samples": len(inside),
                "memory_mib": max(memory for _, _, memory in self.samples)}

"""Running the program: arguments in, the JSON answer out, findings as exceptions."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import Any, Optional


class EspalierError(Exception):
    """What the program found wrong with what it was given; the text is what a terminal would show."""

    def __init__(self, message: str, findings: list[dict[str, Any]], answer: Optional[Any] = None) -> None:
        super().__init__(message)
        #: Each with ``severity``, ``code``, ``at``, ``message``, ``help``; ``espalier explain CODE`` tells more.
        self.findings = findings
        #: The answer of the command, if it gave one all the same.
        self.answer = answer


class CheckFailed(EspalierError):
    """The command did its work, and a check failed: engines differ, a budget is not met, accuracy fell too far."""


def program() -> str:
    """The program: ``ESPALIER`` if it is set, else ``espalier`` of the search path."""
    found = os.environ.get("ESPALIER") or shutil.which("espalier")
    if not found:
        raise EspalierError(
            "the program 'espalier' is not in the search path: build it with `cargo install --path crates/cli`, "
            "or set the environment variable ESPALIER to its path",
            [],
        )
    return found


def call(*arguments: Any, quiet: bool = True) -> Any:
    """Runs ``espalier --json`` with the arguments and returns its answer.

    Progress goes to ``sys.stderr`` unless ``quiet``. Interrupting Python interrupts the program, which tidies up.

    Raises CheckFailed or EspalierError, as the exit code says.
    """
    line = [program(), "--json", *(["--quiet"] if quiet else []), *map(str, arguments)]
    with tempfile.TemporaryFile() as answer_file:
        process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=answer_file, stderr=subprocess.PIPE, text=True, encoding="utf-8"
        )
        said: list[str] = []
        assert process.stderr is not None
        try:
            for text in process.stderr:
                said.append(text)
                if not quiet:
                    sys.stderr.write(text)
            code = process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
        finally:
            process.stderr.close()
        answer_file.seek(0)
        printed = answer_file.read().decode("utf-8")
    answer = json.loads(printed) if printed.strip() else None
    if code == 0:
        return answer
    only_findings = isinstance(answer, dict) and set(answer) == {"findings"}
    findings = answer["findings"] if only_findings else []
    first = next((i for i, text in enumerate(said) if text.startswith("error")), 0)
    message = "".join(said[first:]).strip() or f"espalier ended with {code}"
    kind = CheckFailed if code == 1 else EspalierError
    raise kind(message, findings, None if only_findings else answer)

"""A headless Chromium that is told what to do through a pipe, by the DevTools protocol: it opens, clicks and looks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Browser:
    """One page. Chromium reads messages from its descriptor 3 and writes them to 4, a NUL after each."""

    def __init__(self, to_chromium: int, from_chromium: int) -> None:
        self._to, self._from = os.fdopen(to_chromium, "wb"), os.fdopen(from_chromium, "rb")
        self._sent, self._rest = 0, b""
        self.events: list[dict[str, Any]] = []
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def open(self, address: str) -> None:
        self.send("Page.navigate", url=address)
        while self.evaluate("document.readyState") != "complete" or self.evaluate("location.href") == "about:blank":
            pass

    def evaluate(self, expression: str) -> Any:
        """The JSON value of a JavaScript expression, awaited."""
        done = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def click(self, selector: str) -> None:
        """With the mouse, in the middle of the element."""
        place = self.evaluate(
            f"(() => {{ const found = document.querySelector({json.dumps(selector)}); found.scrollIntoView(); "
            "const box = found.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Into what was clicked."""
        self.send("Input.insertText", text=text)

    def send(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method of the page's session."""
        return self._send(method, self._session, **parameters)

    def _send(self, method: str, session: str | None = None, **parameters: object) -> dict[str, Any]:
        self._sent += 1
        message: dict[str, object] = {"id": self._sent, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while (answer := self._receive()).get("id") != self._sent:
            self.events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = self._from.read1(1 << 16)
            assert piece, "Chromium has gone"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed


@contextmanager
def chromium() -> Iterator[Browser]:
    """With a new, empty profile."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    assert program, "no chromium on the PATH; install it, for example with: apt-get install chromium"
    read_theirs, write_ours = os.pipe()
    read_ours, write_theirs = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # A shell moves the two ends to the descriptors that Chromium expects.
        script = f'exec "$@" 3<&{read_theirs} 4>&{write_theirs}'
        call = ["bash", "-c", script, "sh", program, *FLAGS, f"--user-data-dir={profile}", "--remote-debugging-pipe"]
        with subprocess.Popen(call, pass_fds=(read_theirs, write_theirs), stderr=subprocess.DEVNULL) as process:
            os.close(read_theirs)
            os.close(write_theirs)
            try:
                yield Browser(write_ours, read_ours)
            finally:
                process.kill()

"""Take the tracking server away from trainings, for minutes or for good, and count what is in its database afterwards.

    python tests/outages.py outages --seconds 120

The server is killed (SIGKILL) after a line of each training's log; three come back, the fourth doesn't before the end.
"""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import click

from agedetect.synthetic.faces import draw_faces
from conftest import program, run_command
from mlflow_server import MlflowServer
from test_outage import require_whole, train_until

LINES = ("run ", "epoch 1", "epoch 4")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seconds", default=120)
def main(folder: Path, seconds: int) -> None:
    """Work in FOLDER, which must be new."""
    folder.mkdir(parents=True)
    draw_faces(folder / "faces", 160, seed=1)
    server = MlflowServer(folder)
    server.start()
    try:
        for number, line in enumerate(LINES):
            place = folder / str(number)
            place.mkdir()
            process = train_until(line, server, place, folder / "faces", patience="180")
            server.kill()
            time.sleep(seconds)
            server.start()
            begun = time.monotonic()
            _, said = process.communicate()
            require_whole(server, newest(server))
            took = time.monotonic() - begun
            click.echo(
                f"away for {seconds} s after {line!r}: exit {process.returncode}, {took:.0f} s after its return, "
                f"nothing lost or doubled; {said.count('Traceback')} tracebacks"
            )
        for_good(folder, server)
    finally:
        server.kill()


def for_good(folder: Path, server: MlflowServer) -> None:
    place = folder / "for_good"
    place.mkdir()
    process = train_until("epoch 1", server, place, folder / "faces", patience="180")
    server.kill()
    begun = time.monotonic()
    _, said = process.communicate()
    click.echo(f"away for good: exit {process.returncode} after {time.monotonic() - begun:.0f} s: {last(said)}")

    server.start()
    sent = run_command([program("agedetect"), "sync"], place)
    require_whole(server, newest(server))
    click.echo(f"sync: {last(sent.stdout)}")

    (folder / "ctrl_c").mkdir()
    process = train_until("epoch 1", server, folder / "ctrl_c", folder / "faces", patience="180")
    server.kill()
    time.sleep(20)  # in the epochs, or waiting for the server at the end
    click.echo(f"Ctrl-C while the server is away: {ended_after(process, signal.SIGINT):.1f} s")


def ended_after(process: subprocess.Popen[str], stop: signal.Signals) -> float:
    """Seconds."""
    begun = time.monotonic()
    process.send_signal(stop)
    process.communicate()
    return time.monotonic() - begun


def newest(server: MlflowServer) -> str:
    (run,) = server.client().search_runs(["1"], order_by=["start_time DESC"], max_results=1)
    return str(run.info.run_id)


def last(text: str) -> str:
    return text.strip().splitlines()[-1]


if __name__ == "__main__":
    main()

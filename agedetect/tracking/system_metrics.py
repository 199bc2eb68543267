"""Beside a training: what the machine does goes into the run, and a heartbeat that says that the run is alive."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import suppress

from mlflow import MlflowClient
from mlflow.environment_variables import MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

from agedetect.tracking.sender import Sender

HEARTBEAT_TAG = "agedetect.heartbeat"
SILENT_AFTER = 90.0  # seconds without a heartbeat, after which a run on another machine counts as dead
_INTERVAL = 10.0


def heartbeat() -> str:
    return json.dumps({"time": int(time.time()), "host": socket.gethostname(), "process": os.getpid()})


class Pulse:
    """A thread; its metrics go through the queue, its heartbeat directly, since it means nothing later."""

    def __init__(self, run_id: str, sender: Sender, started_ms: int) -> None:
        self._run_id, self._sender, self._started_ms = run_id, sender, started_ms
        self._interval = MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL.get() or _INTERVAL
        self._monitors: list[BaseMetricsMonitor] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
        with suppress(ImportError, RuntimeError):  # no GPU, or no library that knows it
            self._monitors.append(GPUMonitor())
        self._stopped, self._adding, self._measures = threading.Event(), threading.Lock(), True
        threading.Thread(target=self._work, daemon=True, name="agedetect-pulse").start()

    def stop_measuring(self) -> None:
        """Nothing is added to the queue afterwards; the heartbeat goes on."""
        with self._adding:
            self._measures = False

    def stop(self) -> None:
        self.stop_measuring()
        self._stopped.set()

    def _work(self) -> None:
        measured = beaten = time.monotonic()
        while not self._stopped.wait(min(self._interval, _INTERVAL)):
            if self._measures and time.monotonic() - measured >= self._interval:
                measured = time.monotonic()
                with suppress(Exception):  # neither a sensor nor a full disk stops the training here
                    self._log()
            if time.monotonic() - beaten >= _INTERVAL:
                beaten = time.monotonic()
                with suppress(MlflowException, OSError):
                    MlflowClient().set_tag(self._run_id, HEARTBEAT_TAG, heartbeat())

    def _log(self) -> None:
        metrics = self._metrics()
        with self._adding:
            if self._measures:
                self._sender.add("batch", {"metrics": metrics})

    def _metrics(self) -> list[tuple[str, float, int, int]]:
        now = time.time_ns() // 1_000_000
        step = int((now - self._started_ms) / 1000 / self._interval)
        points = []
        for monitor in self._monitors:
            monitor.collect_metrics()
            points += [(f"system/{name}", value, now, step) for name, value in monitor.aggregate_metrics().items()]
            monitor.clear_metrics()
        return points

"""The app on this machine through its API, as a visitor's program: `python -m tests.gpu.app`. Prints what it measured as JSON."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
import urllib.request

from gradio_client import Client

PORT = 7863


def main() -> None:
    began = time.perf_counter()
    server = subprocess.Popen([sys.executable, "app.py", "--port", str(PORT)], env=os.environ | {"PYTHONFAULTHANDLER": "1"})
    try:
        wait(f"http://127.0.0.1:{PORT}/")
        ready = time.perf_counter() - began
        client = Client(f"http://127.0.0.1:{PORT}/", verbose=False, httpx_kwargs={"timeout": 60})
        taken = []
        for seed in range(8):
            began = time.perf_counter()
            result = client.predict(seed=seed, api_name="/compare")
            taken.append(time.perf_counter() - began)
        print(
            json.dumps({"ready": round(ready, 1), "compare": round(statistics.median(taken[2:]), 3), "answer": str(result)[:200]})
        )
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.send_signal(signal.SIGABRT)  # prints where all its threads are
            raise


def wait(url: str, seconds: float = 50) -> None:
    """Until the page answers."""
    limit = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).read()
            return
        except OSError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.2)


if __name__ == "__main__":
    main()

"""Times what the server does by itself: `python -m tests.timing_server`. Nothing is asserted: machines are shared.

The world of two numbers, and how far the estimates of a run's time are off.
"""

import subprocess
import sys
import time

from ddim_app.engine import Engine
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.studies import point_worlds
from tests.browser.timing import told

TIMES = 20


def world() -> None:
    """The world of two numbers in the server: 400 points by both samplers, other noise each time."""
    clouds = point_worlds.named("clouds")
    point_worlds.ladder(clouds, 28, 3)
    for steps in (8, 64, 250):
        times = []
        for noise in range(100, 100 + TIMES):
            began = time.perf_counter()
            point_worlds.run(clouds, steps, 28, noise)
            times.append(1000 * (time.perf_counter() - began))
        told(f"world of two numbers, {steps} steps", times)


def estimates() -> None:
    """What is foretold of 20 settings of 1 to 16 pictures beside what they take, quiet and beside one busy process."""
    engine = Engine(allow_hub=False)
    settings = [(pictures, steps) for pictures in (1, 2, 4, 8, 16) for steps in (5, 10, 20, 50)]

    def recipe(pictures: int, steps: int) -> Recipe:
        return Recipe(pictures=pictures, arms=(Arm(steps=steps), Arm(steps=steps, eta=1.0)))

    def ratios() -> list[float]:
        found = []
        for pictures, steps in settings:
            plan = engine.plan(recipe(pictures, steps))
            foretold = engine.seconds(plan)
            began = time.perf_counter()
            for _ in engine.run(plan.recipe):
                pass
            assert foretold is not None
            found.append((time.perf_counter() - began) / foretold)
        return found

    for pictures, steps in settings:
        for _ in engine.run(recipe(pictures, steps)):
            pass
    for name, busy in (("quiet", False), ("beside a busy process", True)):
        other = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
        try:
            found = sorted(max(ratio, 1 / ratio) for ratio in ratios())
        finally:
            if other:
                other.kill()
        within = sum(each <= 1.5 for each in found)
        middle, worst = found[len(found) // 2], found[-1]
        print(f"estimates, {name}: {within} of {len(found)} within 1.5 times, median {middle:.2f}, worst {worst:.2f}", flush=True)
    engine.close(5)


if __name__ == "__main__":
    estimates()
    world()

"""A run that is killed or stopped at any moment ends bit-identical to one that never was."""

import collections
import json
import random
import shutil
import signal

import pytest
from safetensors.torch import load_file

from ddim_app.train import state
from tests.train_tools import TOY, final_digest, save_drawings

STEPS = 20
IN_A_SAVE = [
    f"{kind} {moment}" for kind in ("checkpoint", "publish") for moment in ("half written", "not flushed", "not renamed", "renamed")
]
IN_A_STEP = ["mid-step", "step end", "backward"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    (folder / "toy.toml").write_text(TOY)
    save_drawings(folder / "pictures", 30)
    return folder


@pytest.fixture(scope="module")
def train(place, worker):
    def run(name, *more, **job):
        options = ["--data", place / "pictures", "--preset", place / "toy.toml", "--output", place / "runs" / name]
        return worker.run(*options, *more, **job)

    return run


@pytest.fixture(scope="module")
def unbroken(place, train):
    ran = train("unbroken")
    assert ran.code == 0, ran.text
    return place / "runs" / "unbroken"


def same_metrics(one, other):
    def losses(run):
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return [(line["step"], line["loss"]) for line in lines if line["kind"] == "held_out"]

    return losses(one) == losses(other)


def kill_points(count, seed):
    """Where to kill: every third kill inside a save, the others inside a step, over the whole of the run."""
    rng = random.Random(seed)
    saves = rng.sample(IN_A_SAVE * 3, count)
    for i in range(count):
        if i % 3 == 0:
            yield {"signal": signal.SIGKILL, "where": saves[i], "step": rng.randrange(4, STEPS + 1, 4)}
        else:
            yield {"signal": signal.SIGKILL, "where": rng.choice(IN_A_STEP), "step": rng.randrange(STEPS)}


def kill_and_compare(place, train, unbroken, count, seed):
    places = collections.Counter()
    for i, event in enumerate(kill_points(count, seed)):
        name = f"killed-{seed}-{i}"
        assert train(name, event=event).code == -signal.SIGKILL, event
        ran = train(name)
        assert ran.code == 0, (event, ran.text)
        assert final_digest(place / "runs" / name) == final_digest(unbroken), event
        assert same_metrics(place / "runs" / name, unbroken), event
        published = load_file(place / "runs" / name / "unet" / "diffusion_pytorch_model.safetensors")
        wanted = load_file(unbroken / "unet" / "diffusion_pytorch_model.safetensors")
        assert state.digest(published) == state.digest(wanted), event
        places[event["where"]] += 1
    print(f"{count} kills: " + ", ".join(f"{n} {where}" for where, n in sorted(places.items())))
    assert sum(n for where, n in places.items() if where in IN_A_SAVE) * 4 >= count


def test_five_kills_change_nothing(place, train, unbroken):
    kill_and_compare(place, train, unbroken, 5, seed=1)


@pytest.mark.long
def test_twenty_kills_change_nothing(place, train, unbroken):
    kill_and_compare(place, train, unbroken, 20, seed=2)


def test_one_run_killed_again_and_again_ends_the_same(place, train, unbroken):
    for step in (2, 12, 12):
        assert train("again", event={"signal": signal.SIGKILL, "where": "mid-step", "step": step}).code == -signal.SIGKILL
    assert train("again").code == 0
    assert final_digest(place / "runs" / "again") == final_digest(unbroken)


@pytest.mark.parametrize(
    "where",
    ["building", "reading pictures", "measuring", "backward", "mid-step", "preview", "checkpoint not flushed", "closing report",
     *(pytest.param(where, marks=pytest.mark.long) for where in ("first measurement", "held-out loss", "publish half written"))],
)  # fmt: skip
def test_a_signal_in_any_phase_saves_and_ends(place, train, unbroken, where):
    name = where.replace(" ", "-")
    ran = train(name, event={"signal": signal.SIGTERM, "where": where, "step": 8})
    assert ran.code == 143, ran.text
    assert "Start the same command again" in ran.text
    assert "Traceback" not in ran.text
    if where in ("backward", "mid-step"):
        assert state.checkpoints(place / "runs" / name / "checkpoints")[-1].stem == f"step-{8 + (where == 'mid-step'):09d}"
    assert train(name).code == 0
    assert final_digest(place / "runs" / name) == final_digest(unbroken)


def test_ctrl_c_ends_a_run_like_sigterm(place, train, unbroken):
    assert train("ctrl-c", event={"signal": signal.SIGINT, "where": "backward", "step": 5}).code == 130
    assert train("ctrl-c").code == 0
    assert final_digest(place / "runs" / "ctrl-c") == final_digest(unbroken)


def test_a_finished_run_says_so(train, unbroken):
    ran = train("unbroken")
    assert ran.code == 0
    assert "This run is finished: 20 steps" in ran.text


def test_a_finished_run_goes_on_with_its_optimiser_and_a_rate_that_rises_anew(place, train, unbroken):
    for name in ("longer", "twice"):
        shutil.copytree(unbroken, place / "runs" / name)
    killed = train("longer", "--steps", "32", event={"signal": signal.SIGKILL, "where": "mid-step", "step": 29})
    assert killed.code == -signal.SIGKILL
    assert "Going on after step 20 of 32" in killed.text
    assert train("longer").code == 0
    assert train("twice", "--steps", "32").code == 0
    assert final_digest(place / "runs" / "longer") == final_digest(place / "runs" / "twice") != final_digest(unbroken)
    assert state.read(state.checkpoints(place / "runs" / "twice" / "checkpoints")[-1])[1]["updates"] == 32
    lines = [json.loads(line) for line in (place / "runs" / "twice" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [10, 20, 30, 32]
    rates = {line["step"]: line["lr"] for line in lines if line["kind"] == "train"}
    assert rates[30] > rates[20]
    assert {line["name"] for line in lines if line["kind"] == "average" and line["step"] == 32} == {"short", "long"}


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(place, train, unbroken):
    assert train("damaged", event={"signal": signal.SIGKILL, "where": "mid-step", "step": 14}).code == -signal.SIGKILL
    # They are written in the background: that of step 12 was perhaps not whole when the run was killed.
    before, last = state.checkpoints(place / "runs" / "damaged" / "checkpoints")[-2:]
    whole = last.read_bytes()
    for broken in (whole[: len(whole) // 2], whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:]):
        last.write_bytes(broken)
        with_damage = train("damaged", event={"signal": signal.SIGKILL, "where": "backward", "step": 9})
        assert f"{last} is damaged" in with_damage.text
        assert f"Going on after step {int(before.stem.split('-')[-1])} of" in with_damage.text
    assert train("damaged").code == 0
    assert final_digest(place / "runs" / "damaged") == final_digest(unbroken)


def test_a_full_disk_leaves_the_checkpoint_before(place, train, unbroken):
    ran = train("full", fill_disk=12)
    assert ran.code == 2
    assert "No space left on device" in ran.error
    assert "the last good checkpoint is" in ran.error
    assert "step-000000008.safetensors" in ran.error
    assert train("full").code == 0
    assert final_digest(place / "runs" / "full") == final_digest(unbroken)


def test_a_loss_that_is_no_number_names_the_last_good_checkpoint(place, train):
    ran = train("nan", poison=10)
    assert ran.code == 2
    assert "no longer a finite number at step 11" in ran.error
    assert "step-000000008.safetensors" in ran.error
    assert [path.stem for path in state.checkpoints(place / "runs" / "nan" / "checkpoints")] == ["step-000000004", "step-000000008"]


def test_minutes_are_fixed_once(place, train):
    ran = train("minutes", "--minutes", "0.1", event={"signal": signal.SIGKILL, "where": "backward", "step": 3})
    fixed = json.loads((place / "runs" / "minutes" / "run.json").read_text())["steps"]
    assert f"{fixed} steps of 4 pictures" in ran.text
    again = train("minutes", "--minutes", "0.1", event={"signal": signal.SIGTERM, "where": "backward", "step": 5})
    assert again.code == 143, again.text
    stored = json.loads((place / "runs" / "minutes" / "run.json").read_text())
    assert stored["steps"] == fixed
    assert stored["settings"]["steps"] == fixed
    assert "--minutes was 0.1" in train("minutes", "--minutes", "0.2").error


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--lr", "0.01"], "--lr was 0.0002 when this run was begun, and is 0.01 now"),
        (["--seed", "7"], "--seed was 0"),
        (["--batch-size", "5"], "--batch-size was 4"),
        (["--steps", "19"], "--steps was 20"),
        (["--holdout", "2"], "--data has changed"),
    ],
)
def test_a_resumed_run_keeps_its_settings(train, unbroken, options, sentence):
    before = final_digest(unbroken)
    ran = train("unbroken", *options)
    assert ran.code == 2
    assert sentence in ran.error
    assert "another --output" in ran.error
    assert final_digest(unbroken) == before


def test_changed_data_and_another_model_are_refused(place, worker, unbroken, tiny_root):
    other = save_drawings(place / "other pictures", 31)
    command = ["--output", unbroken, "--data"]
    assert "--data has changed" in worker.run(*command, other, "--preset", place / "toy.toml").error
    assert "--init" in worker.run(*command, place / "pictures", "--init", tiny_root / "tiny").error
    fine_tuned = ["--output", place / "runs" / "of tiny", "--data", place / "pictures", "--steps", "1", "--batch-size", "4"]
    assert worker.run(*fine_tuned, "--precision", "fp32", "--init", tiny_root / "tiny").code == 0
    assert "another architecture" in worker.run(*fine_tuned, "--init", unbroken).error


def test_two_processes_cannot_write_one_run(place, train, unbroken):
    from filelock import FileLock

    with FileLock(unbroken / ".lock"):
        assert "another process is training" in train("unbroken").error

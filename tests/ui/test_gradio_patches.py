"""What is used of Gradio's own objects is still there, and what is changed in them still has to be, and works."""

import asyncio
import inspect
import re
import subprocess
import sys
from pathlib import Path

import gradio as gr
import pytest
from gradio.queueing import Queue

from ddim_app.ui.hosting import gradio_patches as patches

ROOT = Path(patches.__file__).parents[3]


@pytest.fixture
def demo():
    with gr.Blocks(analytics_enabled=False) as demo:
        number, button, place = gr.Number(1), gr.Button(), gr.HTML("")
        button.click(lambda value: value, number, number, validator=lambda value: gr.validate(True, ""), concurrency_id="device")
        button.click(lambda value: value, number, number, show_progress="hidden", queue=False)
    demo.queue(max_size=5)
    demo.number, demo.place = number, place
    return demo


def test_no_other_file_looks_inside_gradio():
    """Private attributes of others, by their names: those of our own objects are `self._name`."""
    private = r"\b(demo|block|component|event|fn|request)\._\w+"
    replaced = r"\.(preprocess|postprocess|get_config|validator|server_fns) ="
    inside = re.compile(f"{private}|{replaced}")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in [*ROOT.glob("ddim_app/ui/**/*.py"), ROOT / "app.py"]
        for line in path.read_text("utf-8").splitlines()
        if inside.search(line) and path.name != "gradio_patches.py"
    ]
    assert found == []


def test_an_empty_queue(demo):
    queue = patches.EventQueue(demo)
    assert (queue.waiting, queue.most, queue.is_busy, queue.unread, queue.events("device")) == (0, 5, False, 0, [])


def test_the_queue_keeps_its_books_where_they_are_read():
    """The names in Gradio's queue, and that a waiting event says whose it is."""
    source = inspect.getsource(Queue)
    for name in (
        "event_queue_per_concurrency_id",
        "event_ids_to_events",
        "pending_messages_per_session",
        "pending_event_ids_session",
    ):
        assert f"self.{name}" in source
    from gradio.queueing import Event

    assert {"session_hash", "request"} <= set(inspect.signature(Event).parameters)


def test_gradio_still_rounds_and_refuses_what_a_recipe_should_judge(demo):
    number = gr.Number(1, precision=0)
    assert number.preprocess(3.7) == 4  # why `raw` is there
    assert patches.raw(number).preprocess(3.7) == 3.7
    assert number.preprocess("x") == "x"


def test_payloads_are_read_by_what_is_put_in_their_place(demo):
    assert patches.preprocessed(gr.Textbox(), len).preprocess("four") == 4


def test_a_block_describes_itself_once(monkeypatch):
    block, calls = gr.HTML("x"), []
    describe = block.get_config
    monkeypatch.setattr(block, "get_config", lambda *cls: calls.append(cls) or describe(*cls))
    patches.remember_config(block)
    first = block.get_config()
    assert block.get_config() == first
    assert first["value"] == "x"
    assert calls == [()]


def test_addresses_are_not_fetched_in_place_of_files():
    image = gr.Image()
    patches.keep_to_uploads(image)
    with pytest.raises(gr.Error, match="A file must be uploaded"):
        asyncio.run(image.async_move_resource_to_block_cache("http://127.0.0.1/x.png"))


def test_events_without_progress_tell_one_place_alone(demo):
    patches.keep_progress_to(demo, demo.place)
    shown = {fn.show_progress: fn.show_progress_on for fn in demo.fns.values()}
    assert shown["hidden"] == [demo.place]
    assert shown["full"] != [demo.place]


def test_validators_are_wrapped_where_there_are_some(demo):
    wrapped = []
    patches.wrap_validators(demo, lambda validator: wrapped.append(validator) or validator)
    assert len(wrapped) == 1


def test_functions_past_the_queue_are_wrapped():
    def look(value):
        return value

    with gr.Blocks(analytics_enabled=False) as demo:
        block = gr.HTML("", server_functions=[look])
    patches.wrap_server_functions(demo, lambda function: lambda *values: ("wrapped", function(*values)))
    assert block.look(3) == ("wrapped", 3)


def test_data_of_an_event_is_an_object_or_nothing():
    assert patches.event_data(gr.EventData(None, {"index": 3})) == {"index": 3}
    assert patches.event_data(gr.EventData(None, [3])) == {}


def test_files_of_the_page_are_known(tmp_path):
    picture = tmp_path / "a.png"
    from PIL import Image

    Image.new("RGB", (2, 2)).save(picture)
    with gr.Blocks(analytics_enabled=False) as demo:
        gr.Image(str(picture))
    assert {Path(path).name for path in patches.files_of_page(demo)} == {"a.png"}


def test_names_of_files_that_are_gone_are_dropped(tmp_path):
    """Those that an upload and an answer have added, in whatever set Gradio keeps them."""
    with gr.Blocks(analytics_enabled=False) as demo:
        answer = gr.File()
    answer.GRADIO_CACHE = str(tmp_path)
    paths = [tmp_path / name for name in ("kept", "gone")]
    for path in paths:
        path.touch()
        assert answer.move_resource_to_block_cache(path) == str(path)
    demo.upload_file_set.update(map(str, paths))
    paths[1].unlink()
    patches.forget_gone_files(demo)
    assert [names for names in demo.temp_file_sets if names] == [{str(paths[0])}] * 2


@pytest.mark.parametrize("name", patches.MENDS)
def test_what_a_script_of_gradios_is_served_without_is_found_once(name):
    mend = patches.MENDS[name]
    texts = [path.read_text("utf-8") for path in Path(gr.__file__).parent.glob(f"templates/frontend/assets/{mend.file}-*.js")]
    assert [len(mend.found.findall(text)) for text in texts] == [1]
    (mended,) = (text for file, text in patches.mended_scripts().items() if file.startswith(mend.file))
    assert mend.found.sub(mend.put, texts[0]) != texts[0]
    assert all(mended.count(word) == texts[0].count(word) for word in ("async get_state(", "async set_event_args(", "reload("))


def test_launch_still_takes_its_option():
    assert patches.LAUNCH.keys() <= set(inspect.signature(gr.Blocks.launch).parameters)


def test_gradio_is_imported_by_the_page_alone():
    script = "import sys, ddim_app.engine.engine, ddim_app.runs.kinds; sys.exit('gradio' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)

"""Films and sheets: the pixels that went in, their times, and the recipe read back from every format."""

import io
import sys

import av
import numpy as np
import pytest
from PIL import Image

from ddim_app.media import animation
from ddim_app.media.animation import AnimationError, gif_bytes, labelled_sheet, mp4_bytes, sheet_bytes, text_inside, webp_bytes
from ddim_app.media.images import to_pil
from ddim_app.runs.sampling import Arm, Recipe

RECIPE = Recipe(arms=(Arm(), Arm(method="ddpm")), seed=3).to_json()
NOISE = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3), np.uint8)
SMOOTH = np.stack([np.full((8, 6, 3), level, np.uint8) for level in (0, 60, 120, 180, 240)])


def decoded(data):
    """RGB frames and their milliseconds."""
    image = Image.open(io.BytesIO(data))
    frames, times = [], []
    for number in range(image.n_frames):
        image.seek(number)
        image.load()
        frames.append(np.asarray(image.convert("RGB")))
        times.append(image.info["duration"])
    return np.stack(frames), times


@pytest.mark.parametrize("make", [gif_bytes, webp_bytes])
def test_frames_come_back_to_the_bit_enlarged_and_in_time(make):
    frames, times = decoded(make(NOISE, 40, scale=3, hold=960, recipe=RECIPE))
    assert (frames == NOISE.repeat(3, 1).repeat(3, 2)).all()  # 48 colours a frame fit a GIF's 256
    assert times == [40, 40, 40, 40, 1000]


@pytest.mark.parametrize("make", [gif_bytes, webp_bytes])
def test_grey_frames_and_pictures_are_taken_too(make):
    assert (decoded(make(NOISE[..., :1]))[0] == NOISE[..., :1]).all()
    assert (decoded(make([to_pil(frame) for frame in NOISE]))[0] == NOISE).all()


@pytest.mark.parametrize("make", [gif_bytes, webp_bytes])
def test_a_single_frame_is_a_film_and_none_is_refused(make):
    assert (decoded_single(make(NOISE[:1], recipe=RECIPE)) == NOISE[0]).all()
    with pytest.raises(ValueError, match="at least one frame"):
        make(NOISE[:0])


def decoded_single(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_a_gif_is_never_so_fast_that_browsers_slow_it_down():
    assert decoded(gif_bytes(NOISE, 1))[1] == [20] * 5
    assert decoded(gif_bytes(NOISE, 33))[1] == [30] * 5


@pytest.mark.parametrize("text", [RECIPE, "x" * 70_000, "", '{"label": "η"}'], ids=["recipe", "long", "empty", "greek"])
def test_every_picture_format_gives_its_recipe_back(text):
    sheet = labelled_sheet([[to_pil(NOISE[0])]], ["row"], ["column"])
    assert [
        text_inside(data) for data in (gif_bytes(NOISE, recipe=text), webp_bytes(NOISE, recipe=text), sheet_bytes(sheet, text))
    ] == [text] * 3


def test_what_is_none_of_these_files_is_a_sentence():
    for data in (b"", b"GIF89a", b"%PDF-1.7", webp_bytes(NOISE)[:40]):
        with pytest.raises(ValueError, match="it is no GIF, WebP, MP4 or PNG"):
            text_inside(data)
    assert text_inside(b"\0\0\0\x08ftyp\0\0\0\xffmoov\0\0") == ""


# ---- MP4 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "whole"), [(6, 30), (7, 36)])
def test_an_mp4_holds_the_recipe_and_the_frames(width, whole):
    """A side of 35 pixels becomes 36; the last frame stays 100 ms longer, which is two more frames."""
    data = mp4_bytes(SMOOTH[:, :, :1].repeat(width, 2), 50, scale=5, hold=100, recipe=RECIPE)
    assert text_inside(data) == RECIPE
    with av.open(io.BytesIO(data)) as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 20)
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)]
    assert {frame.shape for frame in frames} == {(40, whole, 3)}
    assert [frame[:, : width * 5].mean() for frame in frames] == pytest.approx([0, 60, 120, 180, 240, 240, 240], abs=3)
    assert all(frame[:, width * 5 :].min(initial=255) > 250 for frame in frames[-3:])  # white, as the paper around the pictures


def test_an_mp4_can_be_played_while_it_is_fetched():
    data = mp4_bytes(NOISE)
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_any_text_is_a_recipe_to_an_mp4():
    text = "$(touch owned); 'x' \"y\"\n`id` = \\ ; # η" + "x" * 70_000
    assert text_inside(mp4_bytes(NOISE, recipe=text)) == text


def test_a_coder_that_fails_or_is_not_there_is_a_sentence(monkeypatch):
    with pytest.raises(AnimationError, match=r"the MP4 could not be made \(.+\); take the WebP"):
        mp4_bytes([Image.new("RGB", (40_000, 2))])
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AnimationError, match="MP4 needs the package av"):
        mp4_bytes(NOISE)


# ---- sheets ----------------------------------------------------------------------------------------------------------


def find(sheet, picture):
    """Where the sheet holds the picture to the bit."""
    whole, part = np.asarray(sheet), np.asarray(picture)
    windows = np.lib.stride_tricks.sliding_window_view(whole, part.shape)
    return [tuple(int(i) for i in place[:2]) for place in np.argwhere((windows == part).all((-1, -2, -3)))]


def test_a_sheet_holds_every_cell_in_its_place_and_leaves_room_for_the_headers():
    grid = [[to_pil(NOISE[0]), to_pil(NOISE[1])], [to_pil(NOISE[2]), None]]
    sheet = labelled_sheet(grid, ["DDIM(η = 0)", "DDPM(σ̂)"], ["step 1", "step 10"], scale=2, title="seed 7")
    (a,), (b,), (c,) = (find(sheet, to_pil(NOISE[i].repeat(2, 0).repeat(2, 1))) for i in range(3))
    assert a[0] == b[0] > 30
    assert a[1] == c[1] > 50
    assert b[1] > a[1] + 12
    assert c[0] > a[0] + 16
    above, aside = np.asarray(sheet)[: a[0]], np.asarray(sheet)[:, : a[1]]
    assert above.min() < 100  # something is written there
    assert aside.min() < 100
    assert np.asarray(sheet)[c[0], b[1]].tolist() == [0xE8, 0xE8, 0xE4]  # the empty cell


def test_long_headers_break_and_the_sheet_stays_near_its_pictures_width():
    header = "DDIM(η = 0.5), 50 steps, quadratic spacing, noise seed 12345"
    narrow = labelled_sheet([[to_pil(NOISE[0])]], [""], [header], scale=8)
    assert narrow.width < 150
    assert narrow.height > 8 * 8 + 60


def test_signs_that_the_font_lacks_are_written_out():
    assert animation.plain("DDPM(σ̂) · η = 0.5 × x₀ 漢") == "DDPM(sigma-hat) · eta = 0.5 x x0 ?"


def test_a_table_that_does_not_fit_its_headers_is_refused():
    for cells, rows, columns in (([[None]], ["a"], ["b"]), ([[to_pil(NOISE[0])]], ["a", "b"], ["c"]), ([], [], [])):
        with pytest.raises(ValueError, match="a sheet needs a picture"):
            labelled_sheet(cells, rows, columns)

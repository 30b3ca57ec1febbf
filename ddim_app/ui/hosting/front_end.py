"""The scripts and styles of Gradio's that the page needs: asked for at once, and served packed, from memory.

Gradio's page asks for its scripts when it comes to need them, in four rounds of up to eighty, and its server reads and packs each
anew for every visitor. That takes as long as all that the page then does with them.
"""

import asyncio
import gzip
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import gradio as gr
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from ddim_app.ui.hosting.gradio_patches import mended_scripts

FOLDER = Path(gr.__file__).parent / "templates" / "frontend" / "assets"
KINDS = {".js": "text/javascript", ".css": "text/css"}
KEEP = {"Cache-Control": "public, max-age=3600"}
"""Not for ever: a mended script has the name that Gradio gave its own."""
_TABLE = re.compile(r"m\.f=\[([^\]]*)\]")
"""In a script: the files that its imports name by their places in it."""
_IMPORT = re.compile(
    r"import\(`\./([\w.-]+)`\)(?:\.then\(\w+=>\w+\.\w+\)|;return\{[^}]*\}\})?,(?:__vite__mapDeps\(\[([\d,]*)\]\))?"
)
_COMPONENT = re.compile(r"\b(\w+):\{(?:\w+:\(\)=>[^{}]*?,)?component:\(\)=>\w+\(\(\)=>import\(`\./([\w.-]+)`\)")


def needed_files(types: Iterable[str]) -> list[str]:
    """Names of the files that a page with components of these types asks for; none where Gradio has changed."""
    entry = re.search(r"assets/(index-[\w-]+\.js)", (FOLDER.parent / "index.html").read_text("utf-8"))
    if entry is None:
        return []
    first = _imports(entry[1])
    needed = [entry[1], *(name for files in first.values() for name in files)]
    for script, files in ((name, _imports(name)) for name in first):
        kinds = dict(_COMPONENT.findall((FOLDER / script).read_text("utf-8")))
        chunks = (
            [kinds[each] for each in types if each in kinds] if kinds else [name for name in files if name.startswith("Blocks-")]
        )
        needed += [name for chunk in chunks for name in files.get(chunk, ())]
    return list(dict.fromkeys(needed))


def _imports(script: str) -> dict[str, list[str]]:
    """What each script that this one imports when it comes to need it brings along, itself included."""
    text = (FOLDER / script).read_text("utf-8")
    table = _TABLE.search(text)
    names = re.findall(r'"\./([^"]+)"', table[1]) if table else []
    return {chunk: [chunk, *(names[int(place)] for place in places.split(",") if place)] for chunk, places in _IMPORT.findall(text)}


def preloads(types: Iterable[str]) -> str:
    """Elements for the page's head that ask for those files while the rest of the page is read.

    What shows components of ours runs before Gradio's page does: what others tell them before they are there is lost.
    """
    names = needed_files(types)
    script, style = '<link rel="modulepreload"', '<link rel="preload" as="style"'
    links = [f'{script if name.endswith(".js") else style} crossorigin href="./assets/{name}">' for name in names]
    ours = [f'<script type="module" crossorigin src="./assets/{name}"></script>' for name in names if re.match("HTML-.*js", name)]
    return "".join((*links, *ours))


def route() -> Route:
    """Answers whoever asks for a file of Gradio's front end; a script of `gradio_patches.MENDS` as it is mended."""
    mended = mended_scripts()

    @cache
    def packed(name: str) -> bytes:
        return gzip.compress(mended[name].encode() if name in mended else (FOLDER / name).read_bytes(), 9, mtime=0)

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if not (FOLDER / name).is_file():
            return PlainTextResponse("There is no such file.", 404)
        kind = KINDS.get(Path(name).suffix)
        if kind is None:
            return FileResponse(FOLDER / name, headers=KEEP)
        body, headers = await asyncio.to_thread(packed, name), {**KEEP, "Vary": "accept-encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(body, media_type=kind, headers={**headers, "Content-Encoding": "gzip"})
        return Response(gzip.decompress(body), media_type=kind, headers=headers)

    return Route("/assets/{name}", file)

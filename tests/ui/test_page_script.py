"""What the script of the page says of answers that bring no result, in the node that comes with playwright, without a browser."""

import json
import subprocess
from typing import Any

import pytest

from ddim_app.ui.assets import FOLDER

driver = pytest.importorskip("playwright._impl._driver", reason="playwright brings the node that runs the script")

HARNESS = """
const {path, cases} = JSON.parse(require('fs').readFileSync(0, 'utf-8')), told = [];
let answer, said;
// All that the script looks for on the page is there, and nothing ever comes of it.
const any = new Proxy(function () {}, {
  get: (_, name) => name === Symbol.toPrimitive ? () => '' : any, apply: () => any, construct: () => any, set: () => true,
});
const dispatchEvent = event => { if (event.type === 'failed') said.push(event.detail.words); };
const known = {
  document: new Proxy({dispatchEvent}, {get: (kept, name) => kept[name] ?? any}),
  window: new Proxy({fetch: async () => answer()}, {get: (kept, name) => name in kept ? kept[name] : any}),
};
const valueOf = name => name === Symbol.unscopables ? undefined : known[name] ?? globalThis[name] ?? any;
const scope = new Proxy({}, {has: () => true, get: (_, name) => valueOf(name)});
(async () => {
  answer = () => new Response('{}');
  said = [];
  const script = require('fs').readFileSync(path, 'utf-8');
  new Function('scope', `with (scope) { return (${script}); }`)(scope)();
  for (const {address, status, type, body} of cases) {
    answer = () => new Response(body, {status, headers: {'content-type': type}});
    said = [];
    const got = await known.window.fetch(`http://here/gradio_api/${address}`);
    told.push({said, passed: [got.status, await got.text()]});
  }
  console.log(JSON.stringify(told));
  process.exit(0);
})().catch(error => { console.error(error); process.exit(1); });
"""
HTML = "<html><h1>Error</h1><center>nginx</center></html>"
PROXY = "The server, or a proxy before it, could not answer (HTTP {})."
LARGE = "What was sent is larger than this server, or a proxy before it, takes."
CASES: list[tuple[str, int, Any, str | None]] = [
    ("queue/join", 413, HTML, LARGE),
    ("upload", 413, HTML, LARGE),
    ("upload?upload_id=a", 413, {"detail": "File size exceeded."}, "File size exceeded."),
    ("queue/join", 413, {"detail": "The request must have at most 16 MB."}, "The request must have at most 16 MB."),
    ("queue/join", 422, HTML, "This server, or a proxy before it, does not take this request (HTTP 422)."),
    ("queue/join", 422, {"detail": "It has no data."}, "It has no data."),
    ("queue/join", 422, {"detail": [{"is_valid": False, "message": "steps must be"}]}, None),
    ("queue/join", 500, HTML, PROXY.format(500)),
    ("queue/join", 500, {"detail": None}, "The server could not answer."),
    ("queue/join", 502, HTML, PROXY.format(502)),
    ("queue/data?session_hash=a", 504, HTML, PROXY.format(504)),
    ("upload", 502, "", PROXY.format(502)),
    ("queue/join", 503, {"detail": "Queue is full."}, "As many runs as this server takes are waiting."),
    ("queue/join", 503, HTML, PROXY.format(503)),
    ("queue/join", 200, {"event_id": "a"}, None),
    ("upload", 200, ["/a/b.png"], None),
]


def test_an_answer_without_a_result_is_a_sentence_and_reaches_gradio_as_it_came() -> None:
    cases = [
        {"address": address, "status": status, "type": "text/html", "body": body}
        if isinstance(body, str)
        else {"address": address, "status": status, "type": "application/json", "body": json.dumps(body)}
        for address, status, body, _ in CASES
    ]
    node, _ = driver.compute_driver_executable()
    asked = json.dumps({"path": str(FOLDER / "page.js"), "cases": cases})
    ended = subprocess.run([node, "-e", HARNESS], input=asked, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert [one["said"] for one in told] == [[words] if words else [] for *_, words in CASES]
    assert [one["passed"] for one in told] == [[case["status"], case["body"]] for case in cases]

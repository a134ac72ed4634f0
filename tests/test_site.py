"""The built site in a browser, at a desk's and at a phone's width: mathematics is set, and no page is wider than it.

    python -m sphinx -W docs SITE && NPSNN_SITE=SITE python -m pytest tests/test_site.py

Needs Chromium; without it, or without a site, this says so and is left out.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SITE = os.environ.get("NPSNN_SITE")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = (1280, 390)

pytestmark = [
    pytest.mark.skipif(not SITE, reason="needs NPSNN_SITE, the folder of a built site"),
    pytest.mark.skipif(not BROWSER, reason="needs Chromium"),
]

# Each page in a frame, one after the other; what is asked of it goes into the document's text, which Chromium prints.
LOOK = """<!doctype html><body><pre id="said"></pre><script>
const pages = PAGES, widths = WIDTHS, said = [];
async function look(page, width) {
  const frame = document.createElement("iframe");
  frame.width = width; frame.height = 900; frame.src = page;
  document.body.append(frame);
  await new Promise(done => frame.onload = done);
  const inside = frame.contentWindow, doc = frame.contentDocument;
  if (inside.MathJax) {
    while (!inside.MathJax.startup) await new Promise(done => setTimeout(done, 10));
    await inside.MathJax.startup.promise;
  }
  const wide = [...doc.querySelectorAll("article *")].filter(e => e.getBoundingClientRect().right > width + 1
    && !e.closest("pre, .math, table, .highlight, mjx-container"));
  said.push({page, width, scrolls: doc.documentElement.scrollWidth,
    math: doc.querySelectorAll(".math").length, set: doc.querySelectorAll(".math mjx-container").length,
    wrong: [...doc.querySelectorAll("mjx-merror, [data-mjx-error]")].map(e => e.textContent),
    broken: [...doc.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src),
    wide: wide.map(e => e.outerHTML.slice(0, 80))});
  frame.remove();
}
(async () => {
  for (const page of pages) for (const width of widths) await look(page, width);
  document.getElementById("said").textContent = JSON.stringify(said); document.title = "done";
})();
</script>"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """(page, width) -> what the browser says of it."""
    site = Path(SITE).resolve()
    pages = sorted(p.relative_to(site).as_posix() for p in site.rglob("*.html") if "_static" not in p.parts)
    pages = [page for page in pages if page not in ("genindex.html", "search.html", "py-modindex.html")]
    text = LOOK.replace("PAGES", json.dumps([f"{site.as_uri()}/{page}" for page in pages]))
    look = tmp_path_factory.mktemp("look") / "look.html"
    look.write_text(text.replace("WIDTHS", json.dumps(WIDTHS)), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--timeout=240000"]
    flags += ["--window-size=1400,1000", f"--user-data-dir={look.parent / 'profile'}", "--virtual-time-budget=200000"]
    done = subprocess.run(
        [BROWSER, *flags, "--dump-dom", look.as_uri()], capture_output=True, text=True, timeout=280, check=True
    )
    found = re.search(r'<pre id="said">(.*?)</pre>', done.stdout, re.DOTALL)
    said = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")) if found[1] else []
    assert len(said) == len(pages) * len(WIDTHS) > 60, "the browser did not come to an end"
    return {(one["page"].removeprefix(f"{site.as_uri()}/"), one["width"]): one for one in said}


def test_all_mathematics_is_set(seen):
    assert {at: one["wrong"] for at, one in seen.items() if one["wrong"]} == {}
    assert {at for at, one in seen.items() if one["math"] != one["set"]} == set()
    assert seen["derivations/leaky.html", 1280]["math"] > 50


def test_no_page_is_wider_than_the_window(seen):
    assert {at: one["wide"][:3] for at, one in seen.items() if one["scrolls"] > at[1]} == {}


def test_every_picture_is_there(seen):
    assert {at: one["broken"] for at, one in seen.items() if one["broken"]} == {}

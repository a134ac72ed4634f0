"""The figures of the documents: each is what its script draws now, can be read on white and on dark, and is described.

A drawing is compared to the committed file as text, but for numbers, which may differ by a hundredth of a point, and
pixels, by two steps of 255: the last bits of exp and of a sum are not the same on every processor.
"""

import base64
import io
import re

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason='figures need Matplotlib: pip install "npsnn[plot]"')

import matplotlib
from matplotlib.colors import to_rgb
from PIL import Image

from docs.figures.__main__ import NAMES, draw
from docs.figures.style import FOLDER

ROOT = FOLDER.parent.parent
WHITE, DARK = "#ffffff", "#131416"  # the pages'
POINTS, SHADES = 0.01, 2  # what two processors may differ by

DRAWN_BY = re.compile(r"<dc:title>Matplotlib v([^,<]+)")
PIXELS = re.compile(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)")
NAME = re.compile(r'(?:(?<=\bid=")|(?<=url\(#)|(?<=href="#))[^")]+')  # some are hashes of what they name
NUMBER = re.compile(r"(?<![\w.#])-?\d+(?:\.\d+)?(?:e-?\d+)?")
SAID = re.compile(r">[^<]*\w[^<]*<")
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)[^)]*\)|<img\b[^>]*>")


def parsed(svg):
    """(text, numbers, pixels): the file in three parts, names by the order in which they come; a label is text."""
    pixels = [np.asarray(Image.open(io.BytesIO(base64.b64decode(p))).convert("RGBA"), int) for p in PIXELS.findall(svg)]
    svg = PIXELS.sub("PIXELS", svg)
    names = {}
    svg = NAME.sub(lambda found: f"name{names.setdefault(found[0], len(names))}", svg)
    said, svg = SAID.findall(svg), SAID.sub("><", svg)
    return (NUMBER.sub("#", svg), said), np.array([float(n) for n in NUMBER.findall(svg)]), pixels


def differs(drawn, committed):
    """What is not the same, in a word; "" where nothing is."""
    if drawn == committed:
        return ""
    (text, numbers, pixels), (text_before, numbers_before, pixels_before) = parsed(drawn), parsed(committed)
    if text != text_before or numbers.shape != numbers_before.shape:
        return "text"
    if (np.abs(numbers - numbers_before) > POINTS).any():
        return "numbers"
    if [p.shape for p in pixels] != [p.shape for p in pixels_before]:
        return "size of an image"
    if any((np.abs(p - before) > SHADES).any() for p, before in zip(pixels, pixels_before, strict=True)):
        return "pixels"
    return ""


def committed(name):
    return (FOLDER / f"{name}.svg").read_text("utf-8")


def test_every_script_has_its_drawing_and_every_drawing_its_script():
    assert sorted(path.stem for path in FOLDER.glob("*.svg")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_file_is_what_the_script_draws(name, tmp_path):
    svg = committed(name)
    (version,) = DRAWN_BY.findall(svg)
    if version != matplotlib.__version__:
        pytest.skip(f"drawn by Matplotlib {version}, here is {matplotlib.__version__}: it places things elsewhere")
    different = differs(draw(name, tmp_path).read_text("utf-8"), svg)
    assert not different, f"python -m docs.figures {name}   draws another {different}"


def test_what_differs_is_seen():
    """On a drawing with numbers, names and pixels of its own."""
    png = {}
    for shade in (10, 11, 20):
        buffer = io.BytesIO()
        Image.new("RGBA", (2, 2), (shade, 0, 0, 255)).save(buffer, "png")
        png[shade] = base64.b64encode(buffer.getvalue()).decode()
    svg = '<g id="{}"><path d="M {} 2"/><use href="#{}"/>{}<image href="data:image/png;base64,{}"/></g>'
    before = svg.format("m1f", "10.001", "m1f", "beta", png[10])
    assert differs(before, before) == ""
    assert differs(svg.format("m2e", "10.002", "m2e", "beta", png[11]), before) == ""
    assert differs(svg.format("m1f", "10.1", "m1f", "beta", png[10]), before) == "numbers"
    assert differs(svg.format("m1f", "10.001", "m2e", "beta", png[10]), before) == "text"
    assert differs(svg.format("m1f", "10.001", "m1f", "theta", png[10]), before) == "text"
    assert differs(svg.format("m1f", "10.001", "m1f", "beta 2.001", png[10]), before) == "text"
    assert differs(svg.format("m1f", "10.001", "m1f", "beta", png[20]), before) == "pixels"


# --- can it be read ------------------------------------------------------------------------------------------------


def luminance(colour):
    """WCAG 2's."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(colour):
    """Of a colour with the page, the smaller of the white and the dark one."""
    a = luminance(colour)
    return min((max(a, b) + 0.05) / (min(a, b) + 0.05) for b in map(luminance, (WHITE, DARK)))


def colours(svg):
    """(of lines and large text, of text) in an SVG of Matplotlib's; text that names no colour is black.

    Large is bold from 14 points on (WCAG 1.4.3): it is read as a line is seen.
    """
    styles = re.findall(r'<(\w+)[^>]*?style="([^"]*)"', svg)
    lines = {
        c for tag, style in styles for c in re.findall(r"stroke: (#\w+)", style) if "stroke-width: 0;" not in style
    }
    texts = set()
    for tag, style in styles:
        if tag in ("text", "tspan"):
            size = re.search(r"font-size: ([\d.]+)px", style)
            large = "font-weight: 700" in style and size is not None and float(size[1]) >= 14
            (lines if large else texts).update(
                re.findall(r"fill: (#\w+)", style) or ([] if tag == "tspan" else ["#000000"])
            )
    return lines, texts


def test_contrast_is_what_it_is_called():
    assert contrast("#ffffff") == 1 and contrast(DARK) == 1
    assert contrast("#7d7d7d") == pytest.approx(4.116, abs=1e-3)  # with white, of whom 21 is black's
    assert luminance("#ffffff") == pytest.approx(1) and luminance("#000000") == 0


@pytest.mark.parametrize("name", NAMES)
def test_lines_and_text_can_be_read_on_white_and_on_dark(name):
    lines, texts = colours(committed(name))
    assert texts
    assert {c for c in lines if contrast(c) < 3} == set()
    assert {c for c in texts if contrast(c) < 4} == set()


@pytest.mark.parametrize("name", NAMES)
def test_the_background_is_the_pages(name):
    svg = committed(name)
    (background,) = re.findall(r'<g id="patch_1">\s*<path[^>]*style="([^"]*)"', svg)[:1]
    assert "fill: none" in background or "opacity: 0" in background
    assert "<dc:date>" not in svg


# --- is it described -----------------------------------------------------------------------------------------------


BUILT = {ROOT / "docs" / "examples", ROOT / "docs" / "_build"}  # what the site makes
PAGES = [ROOT / "README.md", *(p for p in sorted((ROOT / "docs").rglob("*.md")) if not BUILT & {*p.parents})]


def images(page):
    """(alt text, file) of every image of a page, outside its code; HTML's are Markdown's here."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for found in IMAGE.finditer(text):
        if found[2]:
            alt, source = found[1], found[2]
        else:
            alt, source = (re.search(rf'\b{part}="([^"]*)"', found[0]) for part in ("alt", "src"))
            alt, source = (alt[1] if alt else ""), (source[1] if source else "")
        yield alt, source


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_image_of_a_page_exists_and_is_described(page):
    for alt, source in images(page):
        assert (page.parent / source).is_file(), source
        assert len(alt) >= 20, f"{source}: {alt!r} does not say what is seen"

"""Figures as pieces of the page: nothing is fetched, and plots take the page's colours, light or dark."""

import re
from base64 import b64encode
from io import BytesIO
from pathlib import Path

from markupsafe import Markup, escape
from PIL import Image

from dacs.reporting.names import DOMAIN_COLORS, GRID, INK, METHODS, MUTED, PAPER, WORSE
from dacs.reporting.runs import made

VARIABLES = {  # colour in a figure's file → name of the page's colour
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    PAPER: "--paper",
    WORSE: "--worse",
    **{method.color: f"--{name}" for name, method in METHODS.items()},
    **{light: f"--{domain}" for domain, (light, _) in DOMAIN_COLORS.items()},
}


def svg(path: Path, alt: str) -> Markup:
    """The plot itself, its ids made unlike those of the other plots, its font left to the page."""
    text = made(path, "dacs figures").read_text()
    text = text[text.index("<svg") :]
    text = re.sub(r"<style.*?</style>", "", text, flags=re.S)  # would hold for the whole page
    text = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", text)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{path.stem}-", text).replace("xlink:href", "href")
    for color, variable in VARIABLES.items():
        text = text.replace(color, f"var({variable})")
    box = re.search(r'viewBox="[^"]*"', text)
    head = f'<svg {box.group() if box else ""} role="img" aria-label="{escape(alt)}">'
    return Markup(re.sub(r"<svg[^>]*>", lambda _: head, text, count=1))


def png(path: Path, alt: str) -> Markup:
    """The picture as a data URI, with its size, so that the page does not jump."""
    content = made(path, "dacs figures").read_bytes()
    with Image.open(BytesIO(content)) as image:
        width, height = image.size
    source = f"data:image/png;base64,{b64encode(content).decode()}"
    return Markup('<img src="{}" alt="{}" width="{}" height="{}">').format(source, alt, width, height)


def colors(dark: bool) -> str:
    """The colours of methods and domains as CSS declarations."""
    methods = {name: method.dark if dark else method.color for name, method in METHODS.items()}
    domains = {name: pair[dark] for name, pair in DOMAIN_COLORS.items()}
    return " ".join(f"--{name}: {color};" for name, color in (methods | domains).items())

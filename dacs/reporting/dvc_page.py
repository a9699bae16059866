"""A page for `dvc plots` that needs no network: the libraries that draw its charts are those that Snakemake brings.

`python -m dacs.reporting.dvc_page FILE` writes the template; DVC reads it by `--html-template FILE`, or by its setting
`plots.html_template`, which `make` sets for a clone.
"""

import sys
from importlib.resources import files
from pathlib import Path

from dacs.errors import RunFailed
from dacs.files import write_text

LIBRARIES = ("vega", "vega-lite", "vega-embed")  # in the order in which they are loaded
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>DVC plots</title>
{scripts}
</head>
<body>
{plot_divs}
</body>
</html>
"""


def write(template: Path) -> None:
    """Write the template. Raises RunFailed where the installed Snakemake does not bring the libraries."""
    found = [files("snakemake").joinpath(f"assets/data/{name}/{name}.js") for name in LIBRARIES]
    if missing := [str(path) for path in found if not path.is_file()]:
        raise RunFailed(f"{missing[0]}: not found.\nInstall requirements.lock, whose Snakemake brings it.")
    scripts = "\n".join(f"<script>\n{path.read_text(encoding='utf-8')}\n</script>" for path in found)
    write_text(template, PAGE.replace("{scripts}", scripts))


if __name__ == "__main__":
    write(Path(sys.argv[1]))

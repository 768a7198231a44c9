"""The documentation's site: `make docs`. Nothing here or in the site needs a network."""

import os
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS / "_extensions"), str(DOCS.parent)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # autodoc imports TensorFlow

import lsplus_tf  # noqa: E402

project = "lsplus_tf"
author = "the lsplus_tf authors"
release = version = lsplus_tf.__version__

smartquotes = False  # `--set` and "quotes" are as they are typed
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "checks",
    "mathml",
]
# A link to a file that is no page, such as a config, is a download.
myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the tests run the notebooks; the site shows what is stored
nb_merge_streams = True
nb_render_markdown_format = "gfm"  # with tables

autodoc_inherit_docstrings = False  # those of Keras and scikit-learn are theirs
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say more: shapes, ranges, units
napoleon_google_docstring = False
# As lists, in which `slopes_, intercepts_` keep one line and their underscores.
napoleon_use_param = napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]
default_role = "py:obj"  # `name` links to what it names, where that is documented
maximum_signature_line_length = 88
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"

html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"lsplus_tf {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {"footer_icons": [], "top_of_page_buttons": []}
if "LSPLUS_RELEASES" in os.environ:  # the site of a release, beside others
    templates_path = ["_templates"]
    sidebar = ("brand", "search", "scroll-start", "navigation", "scroll-end", "variant-selector")
    html_sidebars = {"**": [*(f"sidebar/{part}.html" for part in sidebar), "releases.html"]}
    html_context = {"releases": os.environ["LSPLUS_RELEASES"]}
copybutton_exclude = ".linenos, .gp, .go"  # neither prompts nor outputs


def _copy_notebooks():
    """Sphinx reads what is below its own folder only."""
    copies = DOCS / "notebooks"
    copies.mkdir(exist_ok=True)
    sources = [*(DOCS.parent / "notebooks").glob("*.ipynb"), DOCS.parent / "notebooks/README.md"]
    for stale in {path.name for path in copies.iterdir()} - {path.name for path in sources}:
        (copies / stale).unlink()
    for path in sources:
        copy = copies / path.name
        text = path.read_text(encoding="utf-8").replace("](../docs/", "](../")
        if not copy.exists() or copy.read_text(encoding="utf-8") != text:
            copy.write_text(text, encoding="utf-8")


def _tables_are_no_part_of_the_tree(app, docname, source):
    """The tables beside a page of results are reached from there alone."""
    if docname.startswith("results/") and not docname.endswith("README"):
        source[0] = f"---\norphan: true\n---\n\n{source[0]}"


def setup(app):
    _copy_notebooks()
    app.connect("source-read", _tables_are_no_part_of_the_tree)

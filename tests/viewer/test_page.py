"""What can be said of the viewer's page without a browser."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from tumorspread.report.panel import LESION_COLOURS
from tumorspread.report.views import LUNG, SOFT_TISSUE
from tumorspread.viewer.niivue import SCRIPT, STATIC

OURS = sorted(path for path in STATIC.glob("*.js") if path.name != SCRIPT)


class _Tags(HTMLParser):
    """All start tags of the page, with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def tags() -> list[tuple[str, dict[str, str | None]]]:
    parser = _Tags()
    parser.feed((STATIC / "index.html").read_text())
    return parser.tags


def test_lesions_have_the_colours_of_the_report() -> None:
    written = re.search(r"LESION_COLOURS = \[(.*?)\]", (STATIC / "colours.js").read_text())
    assert written is not None
    assert tuple(re.findall(r'"(#\w{6})"', written[1])) == LESION_COLOURS


def test_the_windows_are_those_of_the_report() -> None:
    text = (STATIC / "scene.js").read_text()
    for name, window in (("lung", LUNG), ("soft", SOFT_TISSUE)):
        assert f"{name}: [{window.low:g}, {window.high:g}]" in text


def test_pictures_are_in_radiological_convention() -> None:
    assert "isRadiologicalConvention: true" in (STATIC / "scene.js").read_text()


def test_the_page_runs_and_styles_nothing_inline_and_loads_nothing_from_elsewhere(
    tags: list[tuple[str, dict[str, str | None]]],
) -> None:
    for tag, attributes in tags:
        assert tag != "style"
        assert tag != "script" or attributes.get("src")
        assert not any(name == "style" or name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "/static/").startswith(("/static/", "data:,"))
    for path in (*OURS, STATIC / "viewer.css"):
        assert "://" not in path.read_text()


def test_every_file_that_the_page_asks_for_is_there(tags: list[tuple[str, dict[str, str | None]]]) -> None:
    wanted = {value for _, attributes in tags for name in ("src", "href") if (value := attributes.get(name))}
    wanted |= {f"/static/{name}" for path in OURS for name in re.findall(r'from "\./([\w.]+)"', path.read_text())}
    there = {f"/static/{path.name}" for path in STATIC.iterdir()} | {f"/static/{SCRIPT}", "data:,"}
    assert wanted <= there
    assert {f"/static/{path.name}" for path in OURS} <= wanted


def test_every_element_that_the_scripts_look_for_is_on_the_page(
    tags: list[tuple[str, dict[str, str | None]]],
) -> None:
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {name for path in OURS for name in re.findall(r'byId\("([\w-]+)"\)', path.read_text())}
    assert wanted
    assert wanted <= set(ids)


def test_every_control_has_a_name_for_people_who_hear_the_page(
    tags: list[tuple[str, dict[str, str | None]]],
) -> None:
    page = (STATIC / "index.html").read_text()
    for tag, attributes in tags:
        if tag in ("canvas", "progress", "nav", "aside"):
            assert attributes.get("aria-label")
        if tag in ("input", "select"):
            labelled = re.search(rf'<label[^>]*>(?:(?!</label>).)*id="{attributes["id"]}"', page, re.DOTALL)
            assert labelled is not None, attributes["id"]


def test_keys_are_unique_and_each_has_an_action() -> None:
    table = re.findall(r'^  \["(\S+)", ".*", "(\w+)"\]', (STATIC / "keys.js").read_text(), re.MULTILINE)
    keys = [key for key, _ in table]
    assert len(keys) == len(set(keys)) == 24
    actions = (STATIC / "viewer.js").read_text() + (STATIC / "scene.js").read_text()
    for _, name in table:
        assert re.search(rf'\b{name}[:"]', actions), name


def test_scripts_stay_within_the_house_s_length() -> None:
    assert all(len(path.read_text().splitlines()) <= 300 for path in OURS)

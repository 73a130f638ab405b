"""The page, driven by a real browser: Debian's chromium, or the one that Playwright installs.

With CLAID_SCREENSHOTS=FOLDER in the environment, pictures of its states are written there.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("playwright")
pytest.importorskip("PIL")

from claid_ext.overlap import box_iou
from PIL import Image
from playwright.sync_api import Browser, Error, Locator, Page, expect, sync_playwright

if TYPE_CHECKING:
    from serving import Served

PATIENCE = 300_000  # ms: these machines are slow at times
THING = (40, 30, 110, 80)
CUP = (80, 18, 478, 388)  # in coffee.png
WIDE, NARROW = {"width": 1600, "height": 1000}, {"width": 360, "height": 740}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    with sync_playwright() as playwright:
        try:
            # Its sandbox needs rights that containers do not give.
            started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except Error as error:
            pytest.skip(f"no browser here (apt install chromium): {str(error).splitlines()[0]}")
        yield started
        started.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open pages, each in a browser of its own; none may log an error or ask another host."""
    contexts, wrong = [], []

    def open_tab(url: str, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": WIDE, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        host = url.split("/")[2]

        def asked(request: Any) -> None:
            if not request.url.startswith((f"http://{host}/", "blob:", "data:")):
                wrong.append(request.url)

        def logged(message: Any) -> None:
            # That an answer is an error is logged by the browser itself.
            if message.type == "error" and "Failed to load resource" not in message.text:
                wrong.append(message.text)

        page.on("request", asked)
        page.on("console", logged)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message) or dialog.dismiss())
        page.goto(url)
        return page

    yield open_tab
    for context in contexts:
        context.close()
    assert wrong == []


def screenshot(page: Page, name: str) -> None:
    folder = os.environ.get("CLAID_SCREENSHOTS")
    if folder:
        page.wait_for_timeout(1500)
        page.screenshot(path=Path(folder) / f"{name}.png")


def draw(page: Page, box: tuple[float, ...], size: tuple[int, int], *, more: bool = False) -> None:
    """Drag from one corner of a box to the other, in pixels of the photo of `size` (w, h)."""
    frame = page.locator("#stage .picture").bounding_box()
    assert frame is not None
    across, down = frame["width"] / size[0], frame["height"] / size[1]
    if more:
        page.keyboard.down("Shift")
    page.mouse.move(frame["x"] + box[0] * across, frame["y"] + box[1] * down)
    page.mouse.down()
    for step in (0.3, 0.7, 1.0):
        x = box[0] + step * (box[2] - box[0])
        y = box[1] + step * (box[3] - box[1])
        page.mouse.move(frame["x"] + x * across, frame["y"] + y * down)
    page.mouse.up()
    if more:
        page.keyboard.up("Shift")


def shown_box(mark: Locator, size: tuple[int, int]) -> list[float]:
    """Where a mark is, as the browser lays it out, in pixels of a photo of `size`."""
    share = mark.evaluate(
        """mark => {
          const [frame, box] = [mark.parentElement, mark].map(one => one.getBoundingClientRect());
          return [(box.left - frame.left) / frame.width, (box.top - frame.top) / frame.height,
                  (box.right - frame.left) / frame.width, (box.bottom - frame.top) / frame.height];
        }"""
    )
    return [side * size[i % 2] for i, side in enumerate(share)]


def names(page: Page) -> list[str]:
    return page.locator(".hit .name").all_text_contents()


def boxes_of(page: Page) -> list[list[float]]:
    """The boxes in the address."""
    return [
        [float(side) for side in box.split(",")]
        for box in re.findall(r"box=([-\d.,]+)", page.evaluate("location.hash"))
    ]


# ---- the demo's photos, with real networks


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, dict[str, Any]]]:
    """A server on the demo's photos, and where the things are that it pasted."""
    for module in ("onnx", "skimage", "timm"):
        pytest.importorskip(module)
    from claid_ext import Detector, InstanceIndex, RegionDescriptor
    from claid_ext.cli import demo as its
    from claid_ext.errors import WeightsUnavailableError
    from claid_ext.serve.settings import Settings
    from serving import Place, running

    try:
        networks = {
            "detector": Detector("focus_vits14"),
            "descriptor": RegionDescriptor("efficientnet_lite0"),
        }
    except WeightsUnavailableError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("demo")
    photos = {photo.name: photo for photo in its.demo_photos()}
    pasted = its.paste_things(photos, networks["detector"], folder / "pasted")
    with InstanceIndex.create(folder / "index", **networks) as index:
        assert index.add([*photos.values(), *(path for path, _, _ in pasted)]).failed == []

    class DemoPlace(Place):
        def open(self) -> InstanceIndex:
            return InstanceIndex.open(self.index, **networks)

    place = DemoPlace(folder / "index", folder / "pasted", networks["descriptor"])
    with running(place, Settings()) as served:
        yield served, {path.name: (what, box) for path, what, box in pasted}


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_a_box_drawn_around_the_cup_finds_the_cups(demo, tab):
    """The two photos with the pasted cup come first, each with its box; and it is shown large."""
    served, pasted = demo
    page = tab(served.url)
    expect(page.locator(".tile")).to_have_count(8)
    screenshot(page, "choose")
    page.get_by_role("button", name="coffee.png").click()
    expect(page.locator(".region").first).to_be_attached()
    screenshot(page, "regions")
    draw(page, CUP, (600, 400))
    expect(page.locator(".hit")).to_have_count(7)
    assert box_iou(boxes_of(page), [CUP])[0, 0] > 0.98
    cups = {name for name, (what, _) in pasted.items() if what == "cup"}
    assert set(names(page)[:2]) == cups
    for number in range(2):
        name = names(page)[number]
        size = size_of(served.place.photos / name)
        box = shown_box(page.locator(".hit").nth(number).locator(".mark"), size)
        assert box_iou([box], [pasted[name][1]])[0, 0] >= 0.5
    scores = [float(text) for text in page.locator(".hit .score").all_text_contents()]
    assert scores == sorted(scores, reverse=True)
    screenshot(page, "found")

    page.get_by_role("button", name=re.compile("^1: .*Show it large")).click()
    viewer = page.get_by_role("dialog")
    expect(viewer).to_be_visible()
    first = names(page)[0]
    expect(viewer.get_by_role("heading")).to_have_text(first)
    large = shown_box(viewer.locator(".mark"), size_of(served.place.photos / first))
    assert box_iou([large], [pasted[first][1]])[0, 0] >= 0.5
    screenshot(page, "viewer")
    page.keyboard.press("ArrowRight")
    expect(viewer.get_by_role("heading")).to_have_text(names(page)[1])
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()

    page.get_by_role("button", name=f"Search with this hit, {first}").click()
    expect(page.locator("#query-title")).to_have_text(first)
    assert box_iou(boxes_of(page), [pasted[first][1]])[0, 0] >= 0.5
    expect(page.locator(".hit .name").first).to_have_text(re.compile(r"coffee|-with-cup"))


def test_claid_demo_opens_the_page_on_the_cup(demo, tab, monkeypatch, capsys):
    """`--serve`: what is printed and opened is the search for the cup."""
    from argparse import Namespace

    from claid_ext import serve
    from claid_ext.cli import demo as command

    served, pasted = demo
    monkeypatch.setattr(serve, "run_server", lambda *_, ready, **options: ready(f"{served.url}/"))
    options = {"host": "127.0.0.1", "port": 0, "token": None, "allow_host": []}
    options |= {"follow_links": False, "searches": 2, "output": served.place.index.parent}
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert command._serve(Namespace(**options)) == 0
    page = tab(re.search(r"serving at (\S+)", capsys.readouterr().out)[1])
    expect(page.locator(".hit")).to_have_count(7)
    assert set(names(page)[:2]) == {name for name, (what, _) in pasted.items() if what == "cup"}


def test_a_picture_of_ones_own(demo, tab, tmp_path):
    """Uploaded, a box taken from the regions that the detector finds; then lost and sent again."""
    served, pasted = demo
    page = tab(served.url)
    name = next(name for name, (what, _) in pasted.items() if what == "helmet")
    with Image.open(served.place.photos / name) as picture:
        picture.save(tmp_path / "own.webp", lossless=True)
    page.locator("#file").set_input_files(tmp_path / "own.webp")
    expect(page.locator("#query-title")).to_have_text("Your picture")
    assert re.fullmatch(r"#upload=[0-9a-f]{64}", page.evaluate("location.hash"))
    expect(page.locator(".region").first).to_be_attached()
    draw(page, pasted[name][1], size_of(tmp_path / "own.webp"))
    expect(page.locator(".hit .name").first).to_have_text(name)
    screenshot(page, "upload")
    address = page.evaluate("location.href")
    gone = address.replace(re.search(r"upload=(.{64})", address)[1], "0" * 64)
    page.goto(gone)
    expect(page.locator("#stage")).to_contain_text("not in the server's memory any more")
    page.goto(address)
    expect(page.locator(".hit .name").first).to_have_text(name)


# ---- everything else, on made photos with light networks


def open_query(tab: Callable[..., Page], served: Served, more: str = "", **options: Any) -> Page:
    """A tab with photo 0.png, the box around its thing, and hits."""
    box = ",".join(map(str, THING))
    page = tab(f"{served.url}/#photo={served.ids()['0.png']}&box={box}{more}", **options)
    expect(page.locator(".hit").first).to_be_visible()
    return page


def test_by_keyboard_alone(served, tab):
    page = tab(served.url)
    expect(page.locator(".tile")).to_have_count(6)
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('tile')"):
            break
    page.keyboard.press("Enter")
    expect(page.locator("#query-title")).to_have_text("0.png")
    expect(page.locator(".region").first).to_be_attached()
    page.get_by_role("button", name="Add a box").focus()
    page.keyboard.press("Enter")
    box = page.get_by_role("application")
    expect(box).to_be_focused()
    expect(box).to_have_attribute(
        "aria-label", "Box 1 of 1: 64 by 48 pixels, 48 from the left, 36 from the top"
    )
    for key in ("ArrowLeft", "ArrowUp", "Shift+ArrowRight", "Shift+ArrowDown", "Alt+ArrowDown"):
        page.keyboard.press(key)
    expect(box).to_have_attribute(
        "aria-label", "Box 1 of 1: 67 by 51 pixels, 45 from the left, 34 from the top"
    )
    expect(box).to_be_focused()
    expect(page.locator(".hit")).to_have_count(5)
    assert boxes_of(page) == [[45, 34, 112, 85]]
    page.keyboard.press("Delete")
    expect(box).to_have_count(0)
    expect(page.locator("#nothing")).to_contain_text("Mark the thing")
    expect(page.get_by_role("button", name="Add a box")).to_be_focused()

    first = page.locator(".region").first
    first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".region").nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".hit")).to_have_count(5)
    expect(page.locator(".box")).to_be_focused()


def test_regions_are_chosen_by_a_click_and_by_level(served, tab):
    page = tab(f"{served.url}/#photo=1")
    expect(page.locator(".region")).to_have_count(30)
    page.get_by_role("button", name="Level 1", exact=True).click()
    expect(page.locator(".region")).to_have_count(4)
    frame = page.locator("#stage .picture").bounding_box()
    page.mouse.move(frame["x"] + 0.25 * frame["width"], frame["y"] + 0.25 * frame["height"])
    expect(page.locator(".region.hot")).to_have_count(1)
    page.mouse.down()
    page.mouse.up()
    expect(page.locator(".hit")).to_have_count(5)
    assert boxes_of(page) == [[0, 0, 80, 60]]
    page.get_by_role("button", name="None").click()
    expect(page.locator(".region")).to_have_count(0)


def test_boxes_are_moved_resized_and_several(served, tab):
    page = tab(f"{served.url}/#photo=1")
    expect(page.locator(".region").first).to_be_attached()
    draw(page, (20, 20, 60, 60), (160, 120))
    page.wait_for_url("**box=**")
    draw(page, (40, 40, 60, 50), (160, 120))  # inside the box that is marked: it moves
    (box,) = boxes_of(page)
    assert box == pytest.approx([40, 30, 80, 70], abs=1)
    draw(page, (80, 70, 100, 90), (160, 120))  # by its corner
    page.wait_for_function("() => !location.hash.includes(',70') && !location.hash.includes(',69')")
    (box,) = boxes_of(page)
    assert box == pytest.approx([40, 30, 100, 90], abs=1.5)
    draw(page, (5, 5, 30, 25), (160, 120), more=True)
    expect(page.locator(".box")).to_have_count(2)
    expect(page.locator("#mode")).to_be_visible()
    page.get_by_label("different things, all wanted").check()
    expect(page.locator(".hit").first.locator(".mark")).to_have_count(2)
    assert "all=1" in page.evaluate("location.hash")
    screenshot(page, "several")
    page.get_by_text("Boxes in numbers").click()
    page.get_by_label("Right").nth(1).fill("44")
    page.get_by_label("Right").nth(1).press("Enter")
    page.wait_for_url("**,44,**")
    page.get_by_role("button", name="Remove box 2").click()
    expect(page.locator(".box")).to_have_count(1)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".hit")).to_have_count(0)
    page.get_by_role("button", name="Search whole photo").click()
    expect(page.locator(".hit")).to_have_count(5)
    assert "whole=1" in page.evaluate("location.hash")


def test_the_slider_the_folder_and_the_address(served, tab):
    page = open_query(tab, served)
    expect(page.locator(".hit")).to_have_count(5)
    scores = [float(text) for text in page.locator(".hit .score").all_text_contents()]
    least = (scores[1] + scores[2]) / 2
    page.locator("#score").evaluate(
        "(slider, value) => { slider.step = 'any'; slider.value = value; "
        "slider.dispatchEvent(new Event('input', { bubbles: true })); }",
        least,
    )
    expect(page.locator(".hit")).to_have_count(2)
    expect(page.locator("#summary")).to_contain_text("2 of 5 photos")
    assert "min=" in page.evaluate("location.hash")
    before = names(page)
    page.reload()
    expect(page.locator(".hit")).to_have_count(2)
    assert names(page) == before
    expect(page.locator(".box")).to_have_count(1)
    page.locator("#folder").select_option(label="photos/b (2)")
    page.wait_for_url("**folder=**")
    expect(page.locator("#summary")).to_contain_text("2 photos")
    shared = tab(page.evaluate("location.href"))
    expect(shared.locator("#summary")).to_contain_text("2 photos")
    assert set(names(shared)) <= {"4.png", "5.png"}
    page.go_back()
    expect(page.locator("#folder")).to_have_value("")
    expect(page.locator(".hit")).to_have_count(2)


def test_a_photo_that_is_removed_meanwhile(serve, place, tab):
    """Its file, then its entry: what is shown says so, and the search can be done again."""
    served = serve()
    (place.photos / "a" / "3.png").unlink()
    page = open_query(tab, served)
    expect(page.locator(".hit")).to_have_count(5)
    lost = page.locator(".hit", has=page.locator(".broken"))
    expect(lost).to_have_count(1)
    expect(lost).to_contain_text("cannot be shown")
    expect(lost.locator(".name")).to_have_text("3.png")
    with place.open() as index:
        index.remove(place.photos / "a" / "3.png")
    expect(page.locator("#newer")).to_contain_text("The index has changed since this search")
    page.locator("#newer").get_by_role("button").click()
    expect(page.locator(".hit")).to_have_count(4)
    expect(page.locator("#newer")).to_be_hidden()
    with place.open() as index:
        index.remove(place.photos / "a" / "0.png")
    page.reload()
    expect(page.locator("#stage")).to_contain_text("there is no photo")
    page.get_by_role("button", name="Another photo").click()
    expect(page.locator(".tile")).to_have_count(4)


def test_the_page_follows_an_index_that_grows(serve, place, tab):
    from serving import made_picture

    page = tab(serve().url)
    expect(page.locator("#count")).to_have_text("6 photos")
    (place.photos / "c").mkdir()
    made_picture(9).save(place.photos / "c" / "new.png")
    place.add("c/new.png")
    expect(page.locator("#count")).to_have_text("7 photos")
    expect(page.locator(".tile")).to_have_count(7)
    expect(page.get_by_role("button", name="new.png")).to_be_visible()
    expect(page.locator("#choose-folder option")).to_have_count(4)


def test_two_tabs_at_once(served, tab):
    ids = served.ids()
    pages = [
        tab(f"{served.url}/#photo={ids[name]}&box=40,30,110,80&k={k}")
        for name, k in (("1.png", 3), ("4.png", 2))
    ]
    for page, name, count in zip(pages, ("1.png", "4.png"), (3, 2), strict=True):
        expect(page.locator(".hit")).to_have_count(count)
        assert name not in names(page)
        expect(page.locator("#query-title")).to_have_text(name)


def fits(page: Page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("viewport", [NARROW, WIDE], ids=["360", "1600"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_widths_and_colours(served, tab, viewport, scheme):
    page = tab(served.url, viewport=viewport, color_scheme=scheme)
    expect(page.locator(".tile")).to_have_count(6)
    assert fits(page)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    (red, *_) = map(int, re.findall(r"\d+", paper))
    assert red > 200 if scheme == "light" else red < 60
    page = open_query(tab, served, "&box=5,5,40,40&all=1", viewport=viewport, color_scheme=scheme)
    assert fits(page)
    page.get_by_text("Boxes in numbers").click()
    assert fits(page)
    screenshot(page, f"{scheme}-{viewport['width']}")
    page.locator(".hit .open").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert fits(page)
    page = tab(f"{served.url}/docs", viewport=viewport, color_scheme=scheme)
    expect(page.locator(".operation")).to_have_count(12)
    assert fits(page)


def test_by_touch(served, tab):
    page = tab(f"{served.url}/#photo=1", viewport=NARROW, has_touch=True, is_mobile=True)
    expect(page.locator(".region").first).to_be_attached()
    frame = page.locator("#stage .picture").bounding_box()

    def at(x: float, y: float) -> dict[str, float]:
        return {"x": frame["x"] + x * frame["width"], "y": frame["y"] + y * frame["height"]}

    touch = page.context.new_cdp_session(page)
    points = [at(0.25, 0.25), at(0.4, 0.4), at(0.7, 0.65)]
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [points[0]]})
    for point in points[1:]:
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page.locator(".hit")).to_have_count(5)
    assert box_iou(boxes_of(page), [(40, 30, 112, 78)])[0, 0] > 0.95


def test_everything_has_a_name_and_a_role(served, tab):
    """Landmarks, headings, lists; and a name for all that takes focus."""
    page = tab(served.url)
    expect(page.locator(".tile")).to_have_count(6)
    for role in ("banner", "main", "navigation", "list"):
        expect(page.get_by_role(role).first).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("claid")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    page = open_query(tab, served)
    page.get_by_text("Boxes in numbers").click()
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, summary, a, [tabindex]")]
          .filter(one => one.checkVisibility() && one.id !== "main")
          .filter(one => !(one.ariaLabel || one.labels?.length || one.textContent.trim()))
          .map(one => one.outerHTML)"""
    )
    assert unnamed == []
    for role, name in (
        ("combobox", "Folder"),
        ("combobox", "Photos"),
        ("slider", "Score at least"),
    ):
        expect(page.get_by_role(role, name=name)).to_be_visible()
    expect(page.locator("#summary[role=status]")).to_contain_text("5 photos, best first")
    expect(page.locator("ol#hits > li")).to_have_count(5)
    opener = page.locator(".hit .open").nth(1)
    opener.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name=names(page)[1])).to_be_visible()
    page.keyboard.press("Escape")
    expect(opener).to_be_focused()


def test_html_in_names_is_shown_as_text(serve, place, tab):
    strange = ["<img src=x onerror=alert(1)>.png", "\"><script>alert('x')<.png", "&lt;b&gt;.png"]
    folder = place.photos / "<i onclick=alert(2)>f"
    folder.mkdir()
    for seed, name in enumerate(strange):
        Image.new("RGB", (64, 48), (80 * seed, 90, 0)).save(folder / name)
    with place.open() as index:
        index.add([folder / name for name in strange])
    served = serve()
    page = tab(served.url)
    expect(page.locator(".tile")).to_have_count(9)
    assert set(strange) <= set(page.locator(".tile span").all_text_contents())
    page.get_by_role("button", name=strange[0]).click()
    expect(page.locator("#query-title")).to_have_text(strange[0])
    page.get_by_role("button", name="Search whole photo").click()
    expect(page.locator(".hit")).to_have_count(8)
    assert set(strange[1:]) <= set(names(page))
    page.locator(".hit", has_text=strange[1]).locator(".open").click()
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text(strange[1])
    assert page.locator("img[src='x'], i, script:not([src])").count() == 0


def test_a_token_is_asked_for(serve, tab):
    token = "correct horse battery"
    page = tab(f"{serve(token=token).url}/#photo=1&box=40,30,110,80")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Show the photos").click()
    expect(page.locator(".tile")).to_have_count(6)
    assert token.split(maxsplit=1)[0] not in page.url


def test_errors_are_told(serve, tab, monkeypatch):
    """A server too busy to answer, then one that is gone."""
    from claid_ext.errors import WeightsUnavailableError
    from claid_ext.search.searcher import Searcher

    served = serve()
    page = tab(f"{served.url}/#photo=1")
    expect(page.locator(".region").first).to_be_attached()

    def fails(self: Any, *given: Any, **more: Any) -> None:
        raise WeightsUnavailableError("the weights are not here")

    with monkeypatch.context() as patch:
        patch.setattr(Searcher, "prepare", fails)
        draw(page, (20, 20, 60, 60), (160, 120))
        expect(page.get_by_role("alert")).to_contain_text("the weights are not here")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator(".hit")).to_have_count(5)
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_role("alert")).to_be_hidden()
    page.route("**/api/search", lambda route: route.abort())
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("does not answer")


def test_what_is_probably_not_there(serve, tab, monkeypatch):
    """Said where no hit is likely, and of each hit that is not."""
    from dataclasses import replace

    from claid_ext.search.searcher import Searcher

    search, likely = Searcher.search, [False] * 5

    def judged(self: Any, *given: Any, **more: Any) -> Any:
        (hits,) = search(self, *given, **more)
        both = zip(hits, likely, strict=True)
        return [[replace(hit, likely=one, probability=0.12) for hit, one in both]]

    served = serve()
    page = open_query(tab, served)
    expect(page.locator("#absent")).to_be_hidden()  # not known of such networks
    monkeypatch.setattr(Searcher, "search", judged)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("#absent")).to_contain_text("Probably not in these photos")
    expect(page.locator(".unlikely")).to_have_count(5)
    likely[0] = True
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator(".unlikely")).to_have_count(4)
    expect(page.locator("#absent")).to_be_hidden()

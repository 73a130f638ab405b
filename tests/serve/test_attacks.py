"""What an attacker would try: paths for ids, links, bombs, floods, other sites, slow clients."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import struct
import threading
import time
import zlib

import pytest

pytest.importorskip("httpx")
pytest.importorskip("fastapi")
pytest.importorskip("PIL")

import httpx
from PIL import Image

THING = [40, 30, 110, 80]
TOKEN = "a token of good length"
OUTSIDE = (250, 10, 10)  # the colour of a picture that nobody may see


@pytest.mark.parametrize(
    "photo",
    [
        "..%2f..%2fetc%2fpasswd",
        "../../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "1%00.png",
        "1/../../../etc/passwd",
        "-1",
        "1e1",
        "99999999999999999999999",
        "' OR 1=1 --",
    ],
)
@pytest.mark.parametrize("what", ["image", "thumbnail", "regions"])
def test_an_id_is_a_number_and_never_a_path(served, photo, what):
    """Sent as it is: a client's library would tidy it up."""
    for root in ("/api/photos", "/api/uploads", "/static"):
        target = f"{root}/{photo}/{what}".replace(" ", "%20")
        head = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = raw(served, head.encode())
        assert answer.split(b" ")[1] in {b"404", b"422"}, target
        assert b"root:" not in answer


def raw(served, content: bytes) -> bytes:
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=300) as client:
        client.sendall(content)
        parts = []
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("name", ["..%2fguard.py", "..%2f..%2f_version.py", "%2fetc%2fpasswd", ""])
def test_the_pages_files_are_known_by_name(served, name):
    assert served.get(f"/static/{name}").status_code == 404


@pytest.fixture
def linked(place, tmp_path):
    """An index whose photo a/0.png has become a link to a picture elsewhere."""
    (tmp_path / "private").mkdir()
    Image.new("RGB", (160, 120), OUTSIDE).save(tmp_path / "private" / "outside.png")
    (place.photos / "a" / "0.png").unlink()
    (place.photos / "a" / "0.png").symlink_to(tmp_path / "private" / "outside.png")
    return place


def test_symbolic_links_out_of_the_folder_are_not_followed(serve, linked):
    served = serve()
    photo = served.ids()["0.png"]
    for path in ("image", "thumbnail"):
        response = served.get(f"/api/photos/{photo}/{path}")
        assert response.status_code == 403
        assert "symbolic link out of its folder" in response.json()["error"]
    assert served.search(photo=photo, boxes=[THING]).status_code == 403


def test_symbolic_links_are_followed_if_that_is_wanted(serve, linked):
    served = serve(follow_links=True)
    content = served.get(f"/api/photos/{served.ids()['0.png']}/image").content
    assert Image.open(io.BytesIO(content)).getpixel((5, 5))[0] > 200


def test_symbolic_links_between_the_photos_are_shown(serve, place):
    (place.photos / "b" / "4.png").unlink()
    (place.photos / "b" / "4.png").symlink_to(place.photos / "a" / "1.png")
    served = serve()
    assert served.get(f"/api/photos/{served.ids()['4.png']}/image").status_code == 200


def test_a_folder_that_becomes_a_link_is_not_followed(serve, place, tmp_path):
    served = serve()
    photo = served.ids()["5.png"]
    assert served.get(f"/api/photos/{photo}/image").status_code == 200
    (tmp_path / "private").mkdir()
    Image.new("RGB", (160, 120), OUTSIDE).save(tmp_path / "private" / "5.png")
    (place.photos / "b").rename(tmp_path / "old")
    (place.photos / "b").symlink_to(tmp_path / "private")
    assert served.get(f"/api/photos/{photo}/image").status_code == 403


def test_an_image_that_was_indexed_by_a_name_is_no_file(serve, place, monkeypatch, tmp_path):
    """Not even where there is one of that path."""
    (tmp_path / "data:" / "set").mkdir(parents=True)
    Image.new("RGB", (160, 120), OUTSIDE).save(tmp_path / "data:" / "set" / "1.png")
    with place.open() as index:
        index.add([("data://set/1.png", Image.new("RGB", (160, 120)))])
    monkeypatch.chdir(tmp_path)
    served = serve()
    photo = max(served.ids().values())
    assert served.json(f"/api/photos/{photo}")["folder"] == "data://set"
    response = served.get(f"/api/photos/{photo}/image")
    assert response.status_code == 410
    assert "not indexed from a file" in response.json()["error"]
    assert served.json("/api/photos", folder="data://set")["total"] == 1


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it has so many pixels, all of one colour: a few hundred bytes a million."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        whole = kind + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    row = b"\0" * (1 + width // 8 + 1)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(row * 256) for _ in range(-(-height // 256)))
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    body = chunk(b"IDAT", packed + packer.flush())
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8_000, 20_000, 60_000])
def test_a_decompression_bomb_is_refused_by_its_size(served, side):
    content = png_of(side, side)
    assert len(content) < 10_000_000
    response = served.upload(content)
    assert response.status_code == 422
    assert "pixels" in response.json()["error"]


def test_what_is_no_picture_is_refused(served):
    script = io.BytesIO()
    Image.new("RGB", (30, 20)).save(script, "EPS")  # Pillow would start Ghostscript for it
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    for content in (b"", b"GIF89a", script.getvalue(), svg, b"\x89PNG\r\n\x1a\n" + b"\0" * 99):
        response = served.upload(content)
        assert response.status_code == 422
        assert "the picture" in response.json()["error"]


def test_an_upload_of_200_mb_is_refused_before_it_is_read(serve):
    """By its length, or, where it does not say it, once it is over the limit."""
    served = serve(upload_bytes=1 << 20)
    sent = [0]

    def pieces():
        for _ in range(200):
            sent[0] += 1 << 20
            yield b"\0" * (1 << 20)

    kind = {"content-type": "image/png"}
    for length in ({"content-length": str(200 << 20)}, {}):
        sent[0] = 0
        try:
            answer = served.client.post("/api/uploads", content=pieces(), headers=kind | length)
        except httpx.TransportError:  # the connection was closed on what was still being sent
            pass
        else:
            assert answer.status_code == 413
            assert "more than 1048576 bytes" in answer.json()["error"]
        assert sent[0] < 100 << 20
    assert served.json("/api/index")["photos"] == 6
    # One that is a little too large is told so, not just cut off.
    big = served.client.post("/api/uploads", content=b" " * (9 << 20), headers=kind)
    assert big.status_code == 413
    json_type = {"content-type": "application/json"}
    big = served.client.post("/api/search", content=b" " * 70_000, headers=json_type)
    assert big.status_code == 413


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1:7860", 200),
        ("[::1]:7860", 200),
        ("LOCALHOST:1", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("localhost@evil.example", 421),
        ("192.168.0.1", 421),
        ("", 421),
    ],
)
def test_the_host_header_must_name_this_machine(served, host, status):
    for path in ("/", "/api/photos", "/api/photos/1/image"):
        assert served.get(path, headers={"host": host}).status_code == status


def test_names_that_are_allowed(serve):
    served = serve(hosts=("photos.example",))
    assert served.get("/api/index", headers={"host": "Photos.example:80"}).status_code == 200
    assert served.get("/api/index", headers={"host": "photos.example.evil"}).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},  # another server of this machine
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_pages_of_other_sites_are_refused(served, headers):
    for path in ("/api/photos", "/api/photos/1/image"):
        assert served.get(path, headers=headers).status_code == 403
    asked = {"photo": 1, "boxes": [THING]}
    assert served.client.post("/api/search", json=asked, headers=headers).status_code == 403


def test_no_header_lets_other_sites_read(served):
    own = {"origin": served.url, "sec-fetch-site": "same-origin"}
    for path in ("/", "/docs", "/api/photos", "/api/photos/1/image", "/static/main.js"):
        headers = served.get(path, headers=own).headers
        assert not [name for name in headers if name.startswith("access-control")]
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
    preflight = served.client.options(
        "/api/search",
        headers={"origin": "https://evil.example", "access-control-request-method": "POST"},
    )
    assert preflight.status_code == 403


def test_what_a_form_of_another_site_can_send_is_no_request(served):
    """Such types are sent without asking first; old browsers give no origin."""
    picture = (served.place.photos / "a" / "1.png").read_bytes()
    bodies = {
        "/api/search": json.dumps({"photo": 1, "boxes": [THING]}).encode(),
        "/api/uploads": picture,
    }
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        for path, body in bodies.items():
            headers = {"content-type": kind}
            assert served.client.post(path, content=body, headers=headers).status_code == 422
    assert served.upload(picture).status_code == 200


def test_a_token_is_needed_where_there_is_one(serve):
    served = serve(token=TOKEN)
    fresh = httpx.Client(base_url=served.url, timeout=120)
    with fresh:
        for path in ("/api/index", "/api/photos", "/api/photos/1/image", "/api/openapi.json"):
            response = fresh.get(path)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
        page = fresh.get("/")
        assert page.status_code == 401
        assert 'name="token"' in page.text
        for wrong in ("", "x", TOKEN + "x", TOKEN[:-1], "é" * 20):
            headers = {"authorization": f"Bearer {wrong or 0}".encode()}
            assert fresh.get("/api/index", headers=headers).status_code == 401
            assert fresh.get("/", params={"token": wrong}).status_code == 401
            fresh.cookies.set(
                f"claid-{fresh.base_url.port}", base64.b16encode(wrong.encode()).decode()
            )
            assert fresh.get("/api/index").status_code == 401
            fresh.cookies.clear()
        headers = {"authorization": f"Bearer {TOKEN}"}
        assert fresh.get("/api/index", headers=headers).status_code == 200
        opened = fresh.get("/", params={"token": TOKEN})
        assert (opened.status_code, opened.headers["location"]) == (303, "/")
        cookie = opened.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert TOKEN not in cookie
        assert fresh.get("/api/index").status_code == 200
    head = f"GET //evil.example/?token={TOKEN.replace(' ', '+')} HTTP/1.1\r\nHost: localhost\r\n"
    away = raw(served, f"{head}Connection: close\r\n\r\n".encode())
    assert b"\r\nlocation: /evil.example/\r\n" in away


def test_other_machines_need_a_token():
    from claid_ext.serve.server import listen
    from claid_ext.serve.settings import Settings

    for host in ("0.0.0.0", "::"):
        with pytest.raises(ValueError, match="--token"):
            listen(host, 0, Settings())
    with pytest.raises(ValueError, match="at least 12 characters, got 5"):
        Settings(token="short")
    opened, settings = listen("0.0.0.0", 0, Settings(token=TOKEN))
    opened.close()
    assert settings.any_address
    opened, settings = listen("localhost", 0, Settings())
    opened.close()
    assert not settings.any_address
    with pytest.raises(OSError, match=r"nowhere\.invalid"):
        listen("nowhere.invalid", 0, Settings(token=TOKEN))


def test_a_port_that_is_taken_is_told():
    from claid_ext.serve.server import listen
    from claid_ext.serve.settings import Settings

    opened, _ = listen("127.0.0.1", 0, Settings())
    with opened, pytest.raises(OSError, match=r"cannot listen on 127\.0\.0\.1 port .*in use"):
        listen("127.0.0.1", opened.getsockname()[1], Settings())


def test_slow_clients_are_cut_off_and_keep_nobody_waiting(serve, monkeypatch):
    """One that sends no whole head, one that stops in a body, one that sends it byte by byte."""
    from claid_ext.serve import server

    monkeypatch.setattr(server._Connection, "header_seconds", 1.0)
    served = serve(pause_seconds=1.0, request_seconds=3.0, uploads_at_once=2)
    host, port = served.url.removeprefix("http://").split(":")
    upload = (
        b"POST /api/uploads HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        b"Content-Length: 1000\r\n\r\n"
    )
    answers = {}

    def slow(name, first, drip):
        with socket.create_connection((host, int(port)), timeout=300) as client:
            client.sendall(first)
            try:
                for _ in range(1000 if drip else 0):
                    client.sendall(drip)
                    time.sleep(0.2)
            except OSError:
                pass
            try:
                answers[name] = client.recv(65536)
            except ConnectionError:
                answers[name] = b""

    cases = {
        "nothing": (b"", b""),
        "head": (b"GET /api/index HTTP/1.1\r\nHost: loc", b""),
        "endless head": (b"GET /api/index HTTP/1.1\r\nHost: localhost\r\n", b"A: b\r\n"),
        "body": (upload, b""),
        "drip": (upload, b"\0"),
    }
    threads = [threading.Thread(target=slow, args=(name, *its)) for name, its in cases.items()]
    for thread in threads:
        thread.start()
    assert served.json("/api/index")["photos"] == 6  # others are answered meanwhile
    for thread in threads:
        thread.join(300)
        assert not thread.is_alive()
    assert answers["nothing"] == answers["head"] == b""
    for name in ("body", "drip"):
        assert answers[name][:12] in {b"HTTP/1.1 408", b""}, name
    assert answers["body"].startswith(b"HTTP/1.1 408")
    content = (served.place.photos / "a" / "1.png").read_bytes()
    assert served.upload(content).status_code == 200  # their places are free again


def test_a_connection_may_rest_between_requests(serve, monkeypatch):
    from claid_ext.serve import server

    monkeypatch.setattr(server._Connection, "header_seconds", 0.5)
    served = serve()
    with httpx.Client(base_url=served.url, timeout=120) as client:
        client.get("/api/index")
        time.sleep(1.5)
        stream = client.get("/api/index").extensions["network_stream"]
        assert stream.get_extra_info("socket") is not None


def test_work_nobody_waits_for_is_not_done(serve, monkeypatch):
    """Clients that leave while their searches wait: none of these runs, and all places are free."""
    from claid_ext.search.searcher import Searcher

    served = serve(searches=1, waiting=8)
    asked = {"photo": 1, "boxes": [THING]}
    assert served.search(**asked).status_code == 200
    gate, begun, search = threading.Event(), [], Searcher.search

    def held(self, *given, **more):
        begun.append(given)
        assert gate.wait(300)
        return search(self, *given, **more)

    monkeypatch.setattr(Searcher, "search", held)
    body = json.dumps(asked).encode()
    head = (
        f"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    host, port = served.url.removeprefix("http://").split(":")
    clients = [socket.create_connection((host, int(port))) for _ in range(6)]
    for client in clients:
        client.sendall(head.encode() + body)
    until = time.monotonic() + 300
    while not begun and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.5)
    for client in clients:
        client.close()
    time.sleep(0.5)
    gate.set()
    assert served.search(**asked).status_code == 200
    assert len(begun) == 2  # the one that ran already, and the last


STRANGE = (
    "<img src=x onerror=alert(1)>.png",
    "\"><script>alert('x')<",
    "a&amp;b <b>bold",
    "ünï \u202ecode",
)


@pytest.mark.skipif(os.name != "posix", reason="POSIX file systems")
def test_html_in_file_names_is_text(serve, place):
    """As JSON here; the browser's tests have the page, tests/search the report."""
    folder = place.photos / "<i>folder"
    folder.mkdir()
    for seed, name in enumerate(STRANGE):
        Image.new("RGB", (64, 48), (seed, 0, 0)).save(folder / name, "PNG")
    with place.open() as index:
        assert index.add([folder / name for name in STRANGE]).failed == []
    served = serve()
    response = served.get("/api/photos", params={"folder": str(folder)})
    assert response.headers["content-type"] == "application/json"
    assert [one["name"] for one in response.json()["photos"]] == list(STRANGE)


def test_nothing_of_a_request_is_written_anywhere(serve, place, tmp_path, capfd):
    """Neither on disk nor in the output."""

    def content():
        return {
            path: path.read_bytes()
            for path in tmp_path.rglob("*")
            if path.is_file() and not path.name.endswith(("-shm", "-wal"))
        }

    before = content()
    served = serve()
    upload = served.upload((place.photos / "a" / "1.png").read_bytes()).json()["upload"]
    assert served.search(upload=upload, boxes=[[11, 12, 113, 94]]).status_code == 200
    assert served.search(photo=1, boxes=[[11, 12, 113, 94]]).status_code == 200
    assert served.get("/api/photos", params={"name": "whatever"}).status_code == 200
    assert content() == before
    written = capfd.readouterr()
    assert written.out + written.err == ""

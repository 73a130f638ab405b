"""`claid serve` as a command: how it starts, what it refuses, how it stops."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("httpx")

import httpx

THING = [40, 30, 110, 80]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An index that opens by itself: timm's smallest network, random weights from a file."""
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    from claid_ext import InstanceIndex, RegionDescriptor
    from serving import made_picture

    folder = tmp_path_factory.mktemp("command")
    torch.manual_seed(0)
    network = timm.create_model("test_efficientnet", num_classes=0)
    torch.save(network.state_dict(), folder / "weights.pth")
    made_picture(0).save(folder / "0.png")
    made_picture(1).save(folder / "1.png")
    descriptor = RegionDescriptor("test_efficientnet", weights=folder / "weights.pth")
    path = folder / "things"
    with InstanceIndex.create(path, descriptor=descriptor, regions="grid") as made:
        assert made.add([folder / "0.png", folder / "1.png"]).failed == []
    return path


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_stop(index, how):
    """And ends without an error, whatever is under way."""
    command = [sys.executable, "-W", "error::ResourceWarning", "-m", "claid_ext"]
    command += ["serve", str(index), "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{index}: 2 photos\n"
        address = re.fullmatch(
            r"serving at (http://127\.0\.0\.1:\d+/)\n", process.stdout.readline()
        )
        assert address is not None
        with httpx.Client(base_url=address[1], timeout=300) as client:
            asked = {"photo": 1, "boxes": [THING]}
            hits = client.post("/api/search", json=asked).raise_for_status().json()["hits"]
            assert [hit["photo"]["name"] for hit in hits] == ["1.png"]
            process.send_signal(how)
            out, err = process.communicate(timeout=300)
        assert process.returncode == 0
        assert out.endswith("stopped\n")
        assert err == ""


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--host", "0.0.0.0"], "give a --token"),
        (["--host", "0.0.0.0", "--token", "short"], "at least 12 characters"),
        (["--host", "nowhere.invalid"], "nowhere.invalid"),
        (["--searches", "0"], "searches and pictures must be at least 1"),
    ],
)
def test_it_refuses(index, capsys, monkeypatch, arguments, what):
    from claid_ext.cli import main

    monkeypatch.delenv("CLAID_TOKEN", raising=False)
    assert main(["serve", str(index), "--port", "0", *arguments]) == 1
    assert what in capsys.readouterr().err
    assert main(["serve", str(index / "nothing")]) == 1
    assert "is no instance index" in capsys.readouterr().err


def test_the_token_comes_from_the_environment_too(index, capsys, monkeypatch):
    from claid_ext import serve
    from claid_ext.cli import main

    started = []
    monkeypatch.setattr(serve, "run_server", lambda *_, **options: started.append(options))
    monkeypatch.setenv("CLAID_TOKEN", "a token of good length")
    arguments = ["--host", "0.0.0.0", "--allow-host", "Photos.example", "--follow-links"]
    assert main(["serve", str(index), *arguments]) == 0
    settings = started[0]["settings"]
    assert settings.token == "a token of good length"
    assert settings.hosts == ("Photos.example",)
    assert settings.follow_links
    assert (started[0]["host"], started[0]["port"]) == ("0.0.0.0", 7860)

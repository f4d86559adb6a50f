"""A small hub on the loopback interface: so much of the Hugging Face hub's protocol as publishing a model needs."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from ruamel.yaml import YAML

TOKEN = "hf_madeUpForTheTests0123456789abcdef"


@dataclass
class Repository:
    """A model of the hub: its versions, newest last, and who may see it."""

    versions: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)
    gated: bool = False
    private: bool = False

    def commit(self, files: dict[str, bytes]) -> str:
        number = f"{len(self.versions)} {sorted(files)}".encode()
        sha = hashlib.sha1(number + b"".join(files.values())).hexdigest()
        self.versions.append((sha, files))
        return sha

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return self.versions[-1] if self.versions else ("0" * 40, {})
        return next((each for each in self.versions if each[0] == revision), None)


class FakeHub:
    """The server; keeps what it was asked and sent."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.tokens: set[str] = set()
        self.broken = False
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def json(self, content: object, status: int = 200) -> None:
                self.answer(status, json.dumps(content).encode(), Content_Type="application/json")

            def handle_any(self) -> None:
                url = urlsplit(self.path)
                path = unquote(url.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Transfer-Encoding") == "chunked":
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                hub.requests.append(f"{self.command} {path}")
                token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
                hub.tokens.add(token)
                if hub.broken:
                    self.answer(418, b"no coffee")
                else:
                    self.route(path, parse_qs(url.query), body, token)

            do_GET = do_HEAD = do_POST = do_PUT = handle_any

            def route(self, path: str, query: dict[str, list[str]], body: bytes, token: str) -> None:
                known = token == TOKEN
                # Where a large file is put is a secret itself.
                if self.command == "POST" and path != "/api/validate-yaml" and not known:
                    return self.answer(401, b'{"error": "who are you"}')
                if path == "/api/validate-yaml":
                    text = json.loads(body)["content"]
                    YAML(typ="safe", pure=True).load(text.split("---\n")[1])
                    return self.json({"errors": [], "warnings": []})
                if path == "/api/repos/create":
                    asked = json.loads(body)
                    name = f"{asked['organization']}/{asked['name']}"
                    there = name in hub.repositories
                    private = asked.get("visibility") == "private" or asked.get("private", False)
                    hub.repositories.setdefault(name, Repository(private=private))
                    return self.json({"url": f"{hub.endpoint}/{name}"}, 409 if there else 200)
                if path == "/api/models":
                    return self.json([hub.info(name) for name in hub.repositories if hub.listed(name, query, known)])
                if found := re.fullmatch(r"/lfs/(\w+)", path):
                    hub.objects[found[1]] = body
                    return self.answer(200)
                if found := re.fullmatch(r"/(?:api/models/)?([^/]+/[^/]+?)(?:\.git)?(/.*)?", path):
                    return self.repository(found[1], found[2] or "", query, body, known)
                return self.answer(404)

            def repository(self, name: str, rest: str, query: dict[str, Any], body: bytes, known: bool) -> None:
                repository = hub.repositories.get(name)
                if repository is None or (repository.private and not known):
                    return self.answer(404, X_Error_Code="RepoNotFound")
                if repository.gated and (not rest.startswith("/revision") or "blobs" in query) and not known:
                    return self.answer(403, X_Error_Code="GatedRepo")
                if rest == "/info/lfs/objects/batch":
                    objects = [
                        {**each, "actions": {"upload": {"href": f"{hub.endpoint}/lfs/{each['oid']}"}}}
                        for each in json.loads(body)["objects"]
                    ]
                    return self.json({"objects": objects, "transfer": "basic"})
                parts = rest.split("/")
                revision = parts[2] if len(parts) > 2 else "main"
                version = repository.at(revision)
                if version is None:
                    return self.answer(404, X_Error_Code="RevisionNotFound")
                sha, files = version
                if parts[1:2] == ["preupload"]:
                    modes = [
                        {"path": each["path"], "uploadMode": "lfs" if "safetensors" in each["path"] else "regular"}
                        for each in json.loads(body)["files"]
                    ]
                    return self.json({"files": [{**each, "shouldIgnore": False, "oid": None} for each in modes]})
                if parts[1:2] == ["commit"]:
                    new = dict(files)
                    for line in map(json.loads, body.splitlines()):
                        value = line["value"]
                        if line["key"] == "file":
                            new[value["path"]] = base64.b64decode(value["content"])
                        elif line["key"] == "lfsFile":
                            new[value["path"]] = hub.objects[value["oid"]]
                    sha = repository.commit(new)
                    return self.json(
                        {"commitOid": sha, "commitUrl": f"{hub.endpoint}/{name}/commit/{sha}", "success": True}
                    )
                if parts[1:2] == ["resolve"]:
                    content = files.get("/".join(parts[3:]))
                    if content is None:
                        return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
                    etag = hashlib.sha256(content).hexdigest()
                    return self.answer(200, content, ETag=f'"{etag}"', X_Repo_Commit=sha)
                return self.json(hub.info(name, sha))

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def info(self, name: str, revision: str = "main") -> dict[str, Any]:
        repository = self.repositories[name]
        version = repository.at(revision)
        assert version is not None
        sha, files = version
        card = files.get("README.md", b"").decode().split("---\n")
        front = YAML(typ="safe", pure=True).load(card[1]) if len(card) > 2 else {}
        return {
            "id": name, "sha": sha, "private": repository.private, "gated": "manual" if repository.gated else False,
            "tags": front.get("tags", []), "cardData": front, "downloads": 3,
            "siblings": [{"rfilename": each, "size": len(content)} for each, content in files.items()],
        }  # fmt: skip

    def listed(self, name: str, query: dict[str, list[str]], known: bool) -> bool:
        info = self.info(name)
        mine = query.get("author", [""])[0] == name.partition("/")[0]
        tagged = set(query.get("filter", [])) <= set(info["tags"])
        return mine and tagged and (known or not info["private"])


@pytest.fixture
def fake_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub without models, which ``huggingface_hub`` takes for its own, with a cache and a user of the tests."""
    pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    from huggingface_hub import constants

    hub = FakeHub()
    home = tmp_path / "hf-home"
    for name, value in (
        ("ENDPOINT", hub.endpoint),
        ("HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"),
        ("HF_HOME", str(home)),
        ("HF_HUB_CACHE", str(home / "hub")),
        ("HF_ASSETS_CACHE", str(home / "assets")),
        ("HF_TOKEN_PATH", str(home / "token")),
        ("HF_STORED_TOKENS_PATH", str(home / "stored_tokens")),
        ("HF_HUB_OFFLINE", False),
        # Large files go by git-lfs, which the hub still takes: xet's own protocol is not spoken here.
        ("HF_HUB_DISABLE_XET", True),
        ("HF_HUB_DISABLE_SHARED_BLOBS", True),
        ("HF_HUB_DISABLE_PROGRESS_BARS", True),
    ):
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "level", logging.DEBUG)
    yield hub
    hub.server.shutdown()
    hub.server.server_close()

def test_smoke(served):
    print(served.json("/api/index"), served.json("/api/folders"), served.json("/api/photos"))
    r = served.search(photo=1, boxes=[[40, 30, 110, 80]], k=3)
    print(r.status_code, r.text)
    for path in (
        "/api/photos/1/image",
        "/api/photos/1/thumbnail",
        "/api/photos/1/regions",
        "/api/photos/99/image",
        "/api/photos/x/image",
        "/api/photos/1",
        "/",
        "/static/nix",
        "/api/openapi.json",
        "/nix",
        "/api/photos?limit=1000",
    ):
        r = served.get(path)
        print(
            path,
            r.status_code,
            r.headers,
            r.text[:100] if "json" in r.headers["content-type"] else "",
        )
    import pathlib

    r = served.upload(
        pathlib.Path(served.json("/api/photos")["photos"][0]["folder"], "0.png").read_bytes()
    )
    print(r.text)
    u = r.json()["upload"]
    print(served.get(f"/api/uploads/{u}/regions").text[:200])
    print(served.search(upload=u, k=2).text)
    print(
        served.search(k=2).text,
        served.search(photo=1, boxes=[[1, 2, 3]]).text,
        served.search(photo=1, boxes=[[500, 2, 1000, 100]]).text,
    )

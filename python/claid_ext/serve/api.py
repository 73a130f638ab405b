"""The API's routes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header, Path, Query, Request, Response

from claid_ext.serve.errors import BusyError, StoppedError, UnusableError
from claid_ext.serve.listing import (
    list_folders,
    list_photos,
    photo_details,
    regions_out,
    show_index,
)
from claid_ext.serve.models import (
    UPLOAD,
    Error,
    Folder,
    FolderOut,
    IndexOut,
    PhotoDetails,
    PhotoId,
    PhotosOut,
    RegionsOut,
    SearchIn,
    SearchOut,
    UploadOut,
)
from claid_ext.serve.pictures import LARGEST_SIDE, THUMBNAIL_SIDE, PhotoFiles, Picture, as_jpeg
from claid_ext.serve.reader import Reader, Scope
from claid_ext.serve.searching import Searching
from claid_ext.serve.settings import Settings
from claid_ext.serve.uploads import Upload, Uploads, decoded, name_of
from claid_ext.serve.workers import Stop, Workers

__all__ = ["Parts", "make_router"]

T = TypeVar("T")
JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {}}, "description": "a JPEG, upright, without metadata"}
}
PhotoPath = Annotated[PhotoId, Path(description="id of a photo")]
UploadPath = Annotated[str, Path(pattern=UPLOAD, description="name of an upload")]


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    meanings = {
        403: "a symbolic link out of the photos' folders",
        404: "no such photo or upload",
        408: "the request did not arrive in time",
        410: "the photo's file is gone or cannot be read",
        413: "too many bytes",
        422: "a wrong argument; the message names it",
        503: "too many requests are waiting",
    }
    return {status: {"model": Error, "description": meanings[status]} for status in statuses}


class Parts:
    """What the routes work with."""

    def __init__(self, settings: Settings, make: Callable[[], Reader]) -> None:
        """Start the threads; `make` opens the index."""
        self.settings = settings
        self.files = PhotoFiles(follow_links=settings.follow_links)
        self.uploads = Uploads(settings.uploads_bytes)
        self.uploading = 0
        self.networks = Workers("networks", make, 1, settings.waiting)
        self.searchers = Workers("search", make, settings.searches, settings.waiting)
        self.pictures = Workers("pictures", make, settings.pictures, settings.pictures_waiting)
        self.searching = Searching(self.networks, self.searchers, self.files, self.uploads)

    def close(self) -> None:
        """End the threads."""
        for workers in (self.networks, self.searchers, self.pictures):
            workers.close()


def make_router(parts: Parts) -> APIRouter:
    """Return the routes below /api."""
    router = APIRouter(prefix="/api", responses=_errors(503))
    _add_index(router, parts)
    _add_photos(router, parts)
    _add_uploads(router, parts)

    @router.post("/search", responses=_errors(403, 404, 410, 422), tags=["search"])
    async def search(asked: SearchIn, request: Request) -> SearchOut:
        """Find the photos that show a thing, and where it is in each."""
        return await _unless_gone(request, parts.searching.search(asked))

    return router


def _add_index(router: APIRouter, parts: Parts) -> None:
    @router.get("/index", tags=["index"])
    async def index(request: Request) -> IndexOut:
        """Say what the index holds now."""
        return await _unless_gone(request, parts.pictures.run(lambda r, _: show_index(r)))

    @router.get("/folders", tags=["index"])
    async def folders(request: Request) -> list[FolderOut]:
        """List the folders that photos are in."""
        return await _unless_gone(request, parts.pictures.run(lambda r, _: list_folders(r)))


def _add_photos(router: APIRouter, parts: Parts) -> None:
    @router.get("/photos", responses=_errors(422), tags=["photos"])
    async def photos(
        request: Request,
        after: Annotated[int, Query(ge=-1, lt=2**63, description="begin behind this id")] = -1,
        limit: Annotated[int, Query(ge=1, le=200)] = 60,
        folder: Annotated[Folder | None, Query(description="and below it")] = None,
        name: Annotated[str, Query(max_length=255, description="part of the file's name")] = "",
    ) -> PhotosOut:
        """List photos in the order they were added, page by page."""
        scope = Scope(folder, name)
        return await _unless_gone(
            request, parts.pictures.run(lambda r, _: list_photos(r, scope, after, limit))
        )

    @router.get("/photos/{photo}", responses=_errors(404, 422), tags=["photos"])
    async def details(request: Request, photo: PhotoPath) -> PhotoDetails:
        """Say what a photo is."""

        def work(reader: Reader, _: Stop) -> PhotoDetails:
            with reader.reading() as (_view, catalogue):
                size = reader.regions(photo).image_size
                return photo_details(catalogue, photo, size)

        return await _unless_gone(request, parts.pictures.run(work))

    @router.get("/photos/{photo}/regions", responses=_errors(404, 422), tags=["photos"])
    async def regions(request: Request, photo: PhotoPath) -> RegionsOut:
        """List the regions that the index holds of a photo: suggestions of boxes."""
        return await _unless_gone(
            request, parts.pictures.run(lambda r, _: regions_out(r.regions(photo)))
        )

    shown = _errors(403, 404, 410, 422) | JPEG

    @router.get("/photos/{photo}/image", responses=shown, response_class=Response, tags=["photos"])
    async def image(
        request: Request,
        photo: PhotoPath,
        if_none_match: Annotated[str | None, Header(include_in_schema=False)] = None,
    ) -> Response:
        """Show a photo, at most 2048 pixels a side."""
        return await _photo_picture(parts, request, photo, LARGEST_SIDE, if_none_match)

    @router.get(
        "/photos/{photo}/thumbnail", responses=shown, response_class=Response, tags=["photos"]
    )
    async def thumbnail(
        request: Request,
        photo: PhotoPath,
        if_none_match: Annotated[str | None, Header(include_in_schema=False)] = None,
    ) -> Response:
        """Show a photo, at most 448 pixels a side."""
        return await _photo_picture(parts, request, photo, THUMBNAIL_SIDE, if_none_match)


def _add_uploads(router: APIRouter, parts: Parts) -> None:
    binary = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    body = {"requestBody": {"required": True, "content": binary}}

    @router.post("/uploads", responses=_errors(408, 413, 422), openapi_extra=body, tags=["uploads"])
    async def upload(
        request: Request,
        content_type: Annotated[str, Header(include_in_schema=False)] = "",
    ) -> UploadOut:
        """Send a picture, the file itself as the body, to search for things in it.

        It is kept in memory alone, and only for as long as there is room. The content type is that
        of an image, or application/octet-stream.
        """
        # A page of another site can send other types without being asked first, but not these.
        if not content_type.startswith(("image/", "application/octet-stream")):
            raise UnusableError(
                f"the content type must be image/... or application/octet-stream, "
                f"got {content_type!r}"
            )
        if parts.uploading >= parts.settings.uploads_at_once:
            raise BusyError
        parts.uploading += 1
        try:
            content = await request.body()
            most = parts.settings.upload_pixels
            kept = await _unless_gone(
                request, parts.pictures.run(lambda _, stop: _made_upload(content, most, stop))
            )
        finally:
            parts.uploading -= 1
        return _upload_out(parts.uploads.add(kept))

    @router.get("/uploads/{upload}", responses=_errors(404, 422), tags=["uploads"])
    async def upload_details(upload: UploadPath) -> UploadOut:
        """Say whether an upload is still in memory, and how large it is."""
        return _upload_out(parts.uploads.get(upload))

    @router.get(
        "/uploads/{upload}/image",
        responses=_errors(404, 422) | JPEG,
        response_class=Response,
        tags=["uploads"],
    )
    async def upload_image(upload: UploadPath) -> Response:
        """Show an upload, at most 2048 pixels a side."""
        return Response(parts.uploads.get(upload).preview, media_type="image/jpeg")

    @router.get("/uploads/{upload}/regions", responses=_errors(404, 422), tags=["uploads"])
    async def upload_regions(request: Request, upload: UploadPath) -> RegionsOut:
        """Find the regions of an upload: suggestions of boxes."""
        kept = parts.uploads.get(upload)
        if kept.regions is None:
            (found,) = await _unless_gone(
                request, parts.networks.run(lambda r, _: r.index.source([kept.photo()]))
            )
            kept.regions = found.without_pixels()
        return regions_out(kept.regions)


def _made_upload(content: bytes, most_pixels: int, stop: Stop) -> Upload:
    photo = decoded(content, most_pixels)
    stop.check()
    return Upload(name_of(content), content, photo.size, as_jpeg(photo, LARGEST_SIDE))


def _upload_out(upload: Upload) -> UploadOut:
    return UploadOut(upload=upload.name, height=upload.size[0], width=upload.size[1])


async def _photo_picture(
    parts: Parts, request: Request, photo: int, side: int, known: str | None
) -> Response:
    def work(reader: Reader, _: Stop) -> Picture:
        with reader.reading() as (_view, catalogue):
            return parts.files.picture(catalogue, photo, side, known)

    picture = await _unless_gone(request, parts.pictures.run(work))
    headers = {"etag": picture.tag, "cache-control": "private, no-cache"}
    if picture.tag == known:
        return Response(status_code=304, headers=headers)
    return Response(picture.content, media_type="image/jpeg", headers=headers)


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Wait for work, and cancel it once the client has gone."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise StoppedError
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

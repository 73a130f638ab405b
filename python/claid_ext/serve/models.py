"""What is asked and answered, as JSON; the API's description is made from these."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "Error",
    "FolderOut",
    "HitOut",
    "IndexOut",
    "PartOut",
    "PhotoDetails",
    "PhotoOut",
    "PhotosOut",
    "RegionOut",
    "RegionsOut",
    "SearchIn",
    "SearchOut",
    "UploadOut",
]

MOST_BOXES = 16
MOST_HITS = 200
UPLOAD = r"^[0-9a-f]{64}$"

Pixel = Annotated[float, Field(allow_inf_nan=False)]
Box = tuple[Pixel, Pixel, Pixel, Pixel]
PhotoId = Annotated[int, Field(ge=0, lt=2**63)]
Side = Annotated[int, Field(ge=1)]
Folder = Annotated[str, Field(max_length=4096)]


class Error(BaseModel):
    """What went wrong."""

    error: str


class IndexOut(BaseModel):
    """The index as it is now."""

    name: str
    photos: int
    regions: int
    newest: int = Field(description="the highest id of a photo, 0 where there are none")
    state: str = Field(description="changes whenever photos are added or removed")


class FolderOut(BaseModel):
    """A folder that photos of the index are in."""

    folder: str
    label: str = Field(description="its path below the folder that all photos have in common")
    photos: int = Field(description="in the folder itself")


class PhotoOut(BaseModel):
    """A photo of the index."""

    id: int
    name: str
    folder: str


class PhotoDetails(PhotoOut):
    """A photo with its size in pixels, upright."""

    width: int
    height: int


class PhotosOut(BaseModel):
    """A page of a list of photos."""

    photos: list[PhotoOut]
    total: int = Field(description="of all pages")
    next: int | None = Field(description="`after` of the next page; null on the last one")


class RegionOut(BaseModel):
    """A region of a photo."""

    box: Box = Field(description="x0, y0, x1, y1 in pixels of the upright photo")
    level: int = Field(description="depth in the region tree")


class RegionsOut(BaseModel):
    """The regions of a photo: suggestions of boxes."""

    width: int
    height: int
    regions: list[RegionOut]


class UploadOut(BaseModel):
    """A picture that is kept in memory for a while."""

    upload: str = Field(description="its name: the SHA-256 of its bytes")
    width: int
    height: int


class SearchIn(BaseModel):
    """What to find, shown by boxes in a photo of the index or in an upload."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"photo": 3, "boxes": [[80, 18, 478, 388]], "k": 10}]},
    )

    photo: PhotoId | None = Field(None, description="id of a photo of the index")
    upload: Annotated[str, Field(pattern=UPLOAD)] | None = Field(
        None, description="name of an upload"
    )
    boxes: list[Box] = Field(
        default=[],
        max_length=MOST_BOXES,
        description="x0, y0, x1, y1 in pixels of the upright photo; none: the whole photo",
    )
    all_of: bool = Field(
        False, description="the boxes show different things, all of which are wanted"
    )
    k: int = Field(30, ge=1, le=MOST_HITS, description="how many photos")
    folder: Folder | None = Field(None, description="only photos in this folder and below it")
    min_score: Pixel | None = Field(None, description="leave out hits of a lower score")
    min_size: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="skip regions and boxes of fewer square pixels"
    )
    with_itself: bool = Field(False, description="whether the query's own photo may be found")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.photo is None) == (self.upload is None):
            raise ValueError("give either photo or upload")
        return self


class PartOut(BaseModel):
    """Where one of several things is."""

    box: Box
    score: float


class HitOut(BaseModel):
    """A photo that was found."""

    photo: PhotoDetails
    box: Box = Field(description="where the thing is, in pixels of the upright photo")
    score: float = Field(description="what hits are ranked by, best first")
    similarity: float | None = Field(description="of stage 1 alone: a cosine")
    level: int = Field(description="of the stored region near the box")
    probability: float | None = Field(
        description="that the photo shows the thing; null where that is not calibrated"
    )
    likely: bool | None = Field(description="whether it probably does; null as there")
    parts: list[PartOut] = Field(description="where all of several boxes are wanted: each of them")


class SearchOut(BaseModel):
    """Hits, best first."""

    hits: list[HitOut]
    state: str = Field(description="of the index that was searched, as in /api/index")
    seconds: dict[str, float] = Field(description="what each stage took")

"""What a visitor asks for: prompt, filters and selection, as the URL states them."""

import datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from autolora.index.conditions import of_options
from autolora.params.limits import MAX_SEED

MAX_PROMPT_CHARS = 1000
MAX_TYPED_CHARS = 4 * MAX_PROMPT_CHARS
"""that a field takes: it says of a prompt that is too long that it is, instead of cutting it"""
RESULTS = 24
"""adapters per search, unless the visitor asks for more"""
MAX_RESULTS = 240
MAX_SELECTED = 8
"""adapters of one image"""
NOT_FILTERS = {"q", "like", "file", "k", "adapter", "use", "seed"}
"""fields of a search or view that restrict nothing"""

Text = Annotated[str, Field(max_length=MAX_PROMPT_CHARS)]
Name = Annotated[str, Field(max_length=200)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def _none_if_empty(value: Any) -> Any:
    """Return None for the value of an empty field of a form."""
    return None if value == "" else value


class Search(BaseModel):
    """A search: by prompt, by an adapter that others resemble, or by an uploaded file; without any, all adapters."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    q: Text = Field("", description="what the image should show")
    like: Annotated[Sha256 | None, BeforeValidator(_none_if_empty)] = Field(
        None, description="sha256 of an adapter whose weights others should resemble"
    )
    file: Annotated[str | None, Field(pattern="^[0-9a-f]{32}$"), BeforeValidator(_none_if_empty)] = Field(
        None, description="id of an uploaded file, which others should resemble"
    )
    license: list[Name] = Field([], description="licenses, as the hubs write them")
    may_sell: bool = Field(False, description="commercial use is permitted")
    derivatives: bool = Field(False, description="changed versions are permitted")
    nsfw: bool = Field(False, description="also adapters and images that are not safe for work")
    person: Literal["", "no", "yes"] = Field(
        "", description="no: none that shows a real person; yes: only those"
    )
    base: list[Name] = Field([], description="base models")
    hub: list[Name] = Field([], description="hubs")
    max_rank: Annotated[int | None, Field(ge=1, le=100_000), BeforeValidator(_none_if_empty)] = Field(
        None, description="largest rank"
    )
    max_mb: Annotated[float | None, Field(gt=0, le=1e9), BeforeValidator(_none_if_empty)] = Field(
        None, description="largest size of the file in 10^6 bytes"
    )
    since: Annotated[datetime.date | None, BeforeValidator(_none_if_empty)] = Field(
        None, description="first seen on this day or later"
    )
    k: Annotated[int | None, Field(ge=1, le=MAX_RESULTS), BeforeValidator(_none_if_empty)] = Field(
        None, description="number of adapters"
    )

    @property
    def conditions(self) -> list[str]:
        """Return the filters as SQL conditions on columns of the index."""
        flags = (
            None if self.nsfw else "nsfw IS NOT TRUE",
            {"": None, "no": "person IS NOT TRUE", "yes": "person"}[self.person],
        )
        options = of_options(
            licenses=[text for text in self.license if text],
            may_sell=self.may_sell,
            derivatives=self.derivatives,
            bases=[text for text in self.base if text],
            hubs=[text for text in self.hub if text],
            max_rank=self.max_rank,
            max_mb=self.max_mb,
            since=self.since,
        )
        return [*options, *(condition for condition in flags if condition)]

    @property
    def num_filters(self) -> int:
        """Return how many filters a visitor has set."""
        set_fields = self.model_dump(exclude_defaults=True, exclude=NOT_FILTERS)
        return sum(value not in ([], [""]) for value in set_fields.values())

    @property
    def num_more_filters(self) -> int:
        """Return how many filters are set besides those that are always visible."""
        return self.num_filters - self.may_sell - self.derivatives - self.nsfw


class View(Search):
    """A search, the adapter whose details are open, and the adapters that are selected for an image."""

    adapter: Annotated[Sha256 | None, BeforeValidator(_none_if_empty)] = None
    use: Annotated[list[Sha256], Field(max_length=MAX_SELECTED)] = []

    def url(self, path: str = "/", **changes: Any) -> str:
        """Return the URL of this view with some fields changed; fields with their default value are left out."""
        values = self.model_copy(update=changes).model_dump(exclude_defaults=True, mode="json")
        fields = {
            name: "1"
            if value is True
            else [text for text in value if text]
            if isinstance(value, list)
            else value
            for name, value in values.items()
        }
        query = urlencode(fields, doseq=True)
        return f"{path}?{query}" if query else path

    def tab(self, path: str) -> str:
        """Return the URL of another page with prompt, filters and selected adapters of this view."""
        return self.url(path, adapter=None, like=None, file=None, k=None)

    def cleared(self) -> str:
        """Return the URL of this view without filters."""
        filters = {name: field for name, field in Search.model_fields.items() if name not in NOT_FILTERS}
        return self.url(**{name: field.get_default() for name, field in filters.items()})


class ImageView(View):
    """What the page that generates images starts with."""

    seed: Seed = 0

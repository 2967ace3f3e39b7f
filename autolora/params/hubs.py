"""The sections of the hubs: where they are, and what a crawl of them lists."""

from dataclasses import dataclass
from typing import Annotated, Literal

from autolora.records import Base, NsfwLevel
from autolora.storage.bounds import Bound, Count, Natural, NonNegative, Positive, Share

Hub = Literal["civitai", "huggingface", "modelscope", "folder"]


@dataclass(frozen=True, kw_only=True, slots=True)
class HubParams:
    """One hub with an HTTP API."""

    endpoint: str
    """URL"""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderParams:
    """A folder of LoRA files as a hub."""

    path: str | None
    """relative to the repository's root or absolute; null: no folder"""


@dataclass(frozen=True, kw_only=True, slots=True)
class HubsParams:
    """Locations of the hubs, and limits on requests and downloads; no output depends on them."""

    civitai: HubParams
    huggingface: HubParams
    modelscope: HubParams
    folder: FolderParams
    timeout_s: float
    """seconds for connecting, and for each read; a whole response may take several times as long"""
    attempts: Count
    """attempts per request"""
    downloads: int = 4
    """maximum number of parallel downloads per hub"""
    requests_per_s: Positive
    """maximum rate per hub"""
    max_mb_per_s: Positive | None
    """maximum download rate per hub, 10^6 bytes; null is unlimited"""
    min_kb_per_s: float = 1.0
    """10^3 bytes; a download slower than this over timeout_s is aborted"""


@dataclass(frozen=True, kw_only=True, slots=True)
class CrawlParams:
    """Which hubs are scanned, and which of their files enter the catalog."""

    hubs: Annotated[
        tuple[Hub, ...],
        Bound("a list of at least one hub", bool),
        Bound("a list without repetitions", lambda hubs: len(set(hubs)) == len(hubs)),
    ]
    """their order decides nothing: of hubs that list a file first on the same day, the alphabetically first names it"""
    filters: tuple[str, ...]
    """tags that an adapter must carry (huggingface)"""
    searches: tuple[str, ...]
    """values of `search`, each with a list of at most 3,000 models (modelscope); empty: one list of all LoRAs"""
    bases: tuple[Base, ...]
    """allowed base models; empty allows all, and a listing without a base model passes"""
    licenses: tuple[str, ...]
    """allowed licenses; empty allows all"""
    max_nsfw_level: NsfwLevel
    """highest allowed level of adapters, and of their renderings"""
    persons: bool
    """allow adapters that show a real person"""
    minors: bool = False
    """allow adapters that a hub marks as showing a minor"""
    min_downloads: Natural
    """a listing without a number of downloads passes"""
    max_file_mb: float
    """10^6 bytes; larger files are rejected"""
    newest: Count | None
    """number of newest files per hub; null is all"""
    max_renderings: int
    """maximum number of renderings per adapter"""
    overlap_h: NonNegative
    """hours before the watermark that an incremental scan reads again"""
    full_scan_every_days: Count
    """days between full scans, which read a hub's whole list and notice removed models"""
    max_withdrawn_share: Share
    """if more than this share of a hub's known models is absent from a full scan, none of them is withdrawn"""
    max_new_files: Count | None
    """new files that a night admits per hub; the others wait in the catalog; null is all"""
    min_free_gb: NonNegative | None
    """10^9 bytes of the disk that new files leave free, by their sizes; null: they may fill it"""

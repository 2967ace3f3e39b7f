"""The sections of operation: the page of `autolora serve`, and the nightly refresh."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeParams:
    """The page of `autolora serve`: limits and sizes."""

    results: int
    """number of adapters per search, unless the visitor asks for more"""
    max_upload_mb: float
    """10^6 bytes of a LoRA file that is dropped onto the page"""
    max_uploads: int
    """number of uploads that are received at a time; further ones are refused"""
    max_waiting: int
    """number of images that wait to be generated; further ones are refused"""
    thumbnail_px: int
    """largest side of an image on a card"""
    max_image_px: int
    """largest side of an image among the details of an adapter"""


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshParams:
    """The nightly refresh."""

    commit: bool
    """commit catalog, digests and metrics to git"""
    timeout_h: float
    """hours after which a refresh, or a stage, fails"""

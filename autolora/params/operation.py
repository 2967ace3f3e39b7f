"""The section of the nightly refresh."""

from dataclasses import dataclass

from autolora.storage.bounds import Positive


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshParams:
    """The nightly refresh."""

    commit: bool
    """commit catalog, digests and metrics to git, and tag each release"""
    queries: str
    """file with the pinned queries, one per line, by which a release is compared with the one before"""
    timeout_h: Positive
    """hours after which a refresh, or a stage, fails"""

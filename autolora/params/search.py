"""The section of searches."""

from dataclasses import dataclass

from autolora.params.limits import Acting
from autolora.storage.bounds import Count, Share


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrievalParams:
    """Defaults of a search, and the selection of adapters for an image."""

    k: Count
    """number of adapters in a search result"""
    max_selected: Acting
    """maximum number of adapters that are selected for one image"""
    min_relevance: Share
    """an adapter is selected if the probability that the prompt asks for what it does, beyond what the adapters
    selected before it do, is at least this"""

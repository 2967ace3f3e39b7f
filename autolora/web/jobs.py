"""Images that visitors have asked for: generated one after the other by one worker."""

import logging
import secrets
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from autolora.errors import AutoLoraError
from autolora.params import Method
from autolora.records import Hit

MAX_WAITING = 20
"""images that wait to be generated; further ones are refused"""
IDLE_S = 600.0
"""without an image, after which the model leaves the memory, which a nightly refresh may need"""
MAX_REMEMBERED = 100
"""finished images that the page lists; their files stay on disk"""

State = Literal["waiting", "running", "done", "failed", "canceled"]

logger = logging.getLogger(__name__)


class CanceledError(Exception):
    """A visitor has canceled the image that is being generated."""


class QueueFullError(Exception):
    """As many images wait as may wait."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRequest:
    """What a visitor wants to see."""

    prompt: str
    hits: tuple[Hit, ...]
    """the adapters; empty: the base model alone"""
    seed: int
    method: Method
    trigger_words: bool
    """whether to add them to the prompt"""


@dataclass(kw_only=True, slots=True, eq=False)
class Job:
    """One image, from the request to the file."""

    id: str
    request: ImageRequest
    steps: int
    """denoising steps of the image"""
    state: State = "waiting"
    step: int = 0
    """denoising steps done"""
    problem: str = ""
    """why it has failed"""
    file: Path | None = None
    """the image"""
    facts: Mapping[str, str] = field(default_factory=dict)
    """how the image was made: label -> text"""
    notes: list[str] = field(default_factory=list)
    """what to know of the image, in sentences: that no adapter fits the prompt, or its end is not read"""

    @property
    def is_over(self) -> bool:
        """Return whether nothing changes any more."""
        return self.state in ("done", "failed", "canceled")


Generate = Callable[[Job, Callable[[int], None]], None]
"""generates the image of a job, sets its `file` and `facts`, and calls the function after each step"""


class Jobs:
    """The queue of images. One thread generates them, since the base model uses the whole machine."""

    def __init__(
        self,
        generate: Generate,
        max_waiting: int = MAX_WAITING,
        release: Callable[[], None] = lambda: None,
        idle_s: float = IDLE_S,
    ) -> None:
        """release: gives the memory of the model back; called when there was no image for `idle_s` seconds."""
        self._generate, self._max_waiting = generate, max_waiting
        self._release, self._idle_s = release, idle_s
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._current: Job | None = None
        """being generated; a canceled one is until its current step ends"""
        self._is_closed = False
        self._worker: threading.Thread | None = None

    def submit(self, request: ImageRequest, steps: int, notes: Sequence[str] = ()) -> Job:
        """Return a new job at the end of the queue. Raises QueueFullError."""
        job = Job(id=secrets.token_hex(16), request=request, steps=steps, notes=[*notes])
        with self._changed:
            if len(self._waiting) >= self._max_waiting:
                raise QueueFullError
            self._waiting.append(job)
            self._jobs[job.id] = job
            self._forget_oldest()
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="images", daemon=True)
                self._worker.start()
            self._changed.notify()
        return job

    def find(self, id: str) -> Job | None:
        """Return a job; None if there is none with this id, or it was removed."""
        return self._jobs.get(id)

    def position(self, job: Job) -> int:
        """Return how many images are generated before a waiting one; 0 if it does not wait."""
        with self._changed:
            is_busy = self._current is not None
            return self._waiting.index(job) + is_busy if job in self._waiting else 0

    def recent(self) -> Sequence[Job]:
        """Return the jobs, the newest first."""
        with self._changed:
            return list(reversed(self._jobs.values()))

    def cancel(self, job: Job) -> None:
        """End a job; one that is running ends after its current step."""
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
            if not job.is_over:
                job.state = "canceled"

    def remove(self, job: Job) -> None:
        """Forget a job that has no image and gets none."""
        with self._changed:
            if job.state in ("failed", "canceled"):
                self._jobs.pop(job.id, None)

    def close(self) -> None:
        """Cancel all jobs and end the worker."""
        for job in self.recent():
            self.cancel(job)
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._worker is not None:
            self._worker.join(timeout=5)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._generate(job, partial(self._step, job))
                self._end(job, "done")
            except CanceledError:
                logger.info("image %s was canceled after step %d", job.id, job.step)
            except AutoLoraError as error:
                self._end(job, "failed", str(error))
            except Exception as error:  # a pipeline raises many types; the worker goes on with the next job
                logger.exception("image %s", job.id)
                self._end(job, "failed", f"the generation failed unexpectedly ({type(error).__name__})")

    def _next(self) -> Job | None:
        """Return the next job as running; None if the queue is closed."""
        with self._changed:
            self._current = None
            is_idle = not self._changed.wait_for(self._has_news, self._idle_s)
        if is_idle:
            try:
                self._release()
            except Exception:  # the worker goes on with the next image
                logger.exception("the memory of the model could not be given back")
        with self._changed:
            self._changed.wait_for(self._has_news)
            if self._is_closed:
                return None
            self._current = job = self._waiting.popleft()
            job.state = "running"
            return job

    def _has_news(self) -> bool:
        return bool(self._waiting) or self._is_closed

    def _step(self, job: Job, step: int) -> None:
        job.step = step
        if job.state == "canceled":
            raise CanceledError

    def _end(self, job: Job, state: State, problem: str = "") -> None:
        with self._changed:
            if job.state == "running":
                job.state, job.problem = state, problem
            elif job.file is not None:  # canceled after its last step
                job.file.unlink(missing_ok=True)
                job.file, job.facts = None, {}

    def _forget_oldest(self) -> None:
        over = [job.id for job in self._jobs.values() if job.is_over]
        for id in over[: max(len(self._jobs) - MAX_REMEMBERED, 0)]:
            del self._jobs[id]

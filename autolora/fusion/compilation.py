"""A function of tensors that torch.compile makes faster, and that works as it is if it cannot be compiled."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

logger = logging.getLogger(__name__)


class CompiledFunction:
    """Compiles a function at its first call, for all sizes of its tensors.

    Both forms give the same results up to rounding. Without a compiler the function itself is called, which the log
    says once.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function
        self._fast: Callable[..., Tensor] | None = None

    def __call__(self, *arguments: Tensor | None) -> Tensor:
        """Return what the function returns."""
        if self._fast is None:
            self._fast = torch.compile(self.function, dynamic=True)
        try:
            return self._fast(*arguments)
        except torch._dynamo.exc.TorchDynamoException as error:
            logger.warning(
                "the gates run without torch.compile, which fails here (%s): they need more time; install a C++ "
                "compiler, such as g++, and for a GPU Triton",
                str(error).strip().partition("\n")[0],
            )
            self._fast = self.function
            return self.function(*arguments)

"""`autolora report`."""

from autolora.cli.command import enter_repository


def report() -> None:
    """Write reports/index.html from the outputs of the stages."""
    from autolora.report.page import assemble

    root, _ = enter_repository()
    print(assemble(root))

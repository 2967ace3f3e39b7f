"""`autolora report`."""

from autolora.cli.command import announce, enter_repository


def report() -> None:
    """Write reports/index.html, the page to open in the morning."""
    announce("writing the morning page")
    from autolora.report.page import assemble

    root, _ = enter_repository()
    print(assemble(root))

"""`autolora report`."""

from autolora.cli.command import announce, enter_repository


def report() -> None:
    """Write reports/index.html: what the last refresh brought, what is wrong, and how well it works."""
    announce("writing the report")
    from autolora.report.page import assemble

    root, _ = enter_repository()
    print(assemble(root))

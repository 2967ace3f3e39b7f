"""`python -m autolora` and the command `autolora`: search, generate and the other commands of `autolora.cli`."""

from autolora.interrupt import exit_on_interrupt, raise_if_interrupted


def main() -> None:
    """Run the command line."""
    exit_on_interrupt("interrupted")
    try:
        from autolora.cli import app  # here, because Ctrl-C may come during this import

        app()
    finally:
        raise_if_interrupted()


if __name__ == "__main__":
    main()

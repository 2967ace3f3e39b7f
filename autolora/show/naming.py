"""Names and sizes of adapters in the words of the pages: the report and `autolora serve`."""

UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def display_name(id: str, file: str) -> tuple[str, str]:
    """Return the name of an adapter as its own part and its author's; an id that is a number is named by the file."""
    author, _, name = id.rpartition("/")
    if not author and name.isdecimal():
        return file_stem(file), f"model {id}"
    return name, author


def file_stem(file: str) -> str:
    """Return the name of a file without folder and ending, by which other programs call the adapter."""
    return file.rpartition("/")[2].removesuffix(".safetensors")


def file_size(size: int) -> str:
    """Return a number of bytes with its unit, two or three digits long."""
    factor, unit = next(((factor, unit) for factor, unit in UNITS if size >= factor), (1, "bytes"))
    value = size / factor
    return f"{value:.1f} {unit}" if value < 10 and factor > 1 else f"{value:.0f} {unit}"

"""`autolora export`."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from autolora.cli.command import announce
from autolora.cli.options import Pipeline
from autolora.cli.own_files import absolute_folder, enter_project
from autolora.cli.paths import check_can_write, to_absolute


class Layout(Enum):
    """The layouts of exported files."""

    DIFFUSERS = "diffusers"
    KOHYA = "kohya"
    BFL = "bfl"


class DType(Enum):
    """The types of exported weights."""

    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


def export(
    adapter: Annotated[
        str,
        typer.Argument(
            metavar="ID|FILE", help="A LoRA file, or an adapter of the index: a sha256 or an id on a hub."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write (.safetensors).")],
    layout: Annotated[
        Layout, typer.Option(help="Names of the tensors: those of diffusers, kohya or Black Forest Labs.")
    ] = Layout.DIFFUSERS,
    dtype: Annotated[
        DType | None,
        typer.Option(help="Type of the weights. Default: that of the source if exact, else float32."),
    ] = None,
    pipeline: Pipeline = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a LoRA with the tensor names that another tool reads."""
    output = to_absolute(output)
    if output.suffix.lower() != ".safetensors":
        raise typer.BadParameter(f"{output} must be a file that ends in .safetensors", param_hint="-o")
    check_can_write(output, 0, "-o")
    if output.exists() and not force:
        raise typer.BadParameter(f"{output} exists: give another file, or --force", param_hint="-o")
    announce(f"exporting {adapter}")
    from autolora.inspection.base_model import open_base_model
    from autolora.inspection.export_source import open_source
    from autolora.lora.export import LAYOUTS, lay_out
    from autolora.storage.tensor_files import save_tensors

    file, pipeline = Path(adapter).expanduser(), absolute_folder(pipeline)
    name = str(file.absolute()) if file.is_file() else adapter
    root, params = enter_project()
    base = open_base_model(pipeline, params)
    source = open_source(name, root, base)
    exported = lay_out(source.lora, base.fused_slots, LAYOUTS[layout.value], dtype.value if dtype else None)
    save_tensors(output, exported.tensors, source.metadata)
    print(output)
    print(f"  {len(exported.tensors)} tensors in {exported.dtype}, {output.stat().st_size:,} bytes")
    if exported.rounding:
        print(f"  rounded: by at most {exported.rounding:.1g} of the largest number of a tensor")
    if source.left_out:
        print(f"  left out: {source.left_out}")

"""The losses of trainings as a table: a number per seed, in the order of the steps."""

from studies.losses import loss_table

SEEDS = {
    "0": {"recipe": "rate 1", "held_out": {"0": 0.3, "100": 0.4, "50": 0.2}, "best_step": 50, "unseen": 0.31},
    "1": {
        "recipe": "rate 1",
        "held_out": {"0": 0.5, "100": 0.45, "50": 0.6},
        "best_step": 100,
        "unseen": 0.32,
    },
}


def test_each_cell_has_a_number_per_seed() -> None:
    untrained = {"0": {"held_out": {}, "best_step": 0, "unseen": 0.3}}
    table = loss_table(
        {"small": {"full": SEEDS, "untrained": untrained}, "large": {"full": {"1": SEEDS["1"]}}}
    )
    assert table.splitlines() == [
        "| world | gates | recipe | held-out loss at the start | lowest | after step | of steps "
        "| Eq. 10 on unseen adapters |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| small | full | rate 1 | 0.300 0.500 | 0.200 0.450 | 50 100 | 100 100 | 0.310 0.320 |",
        "| small | untrained |  |  |  |  |  | 0.300 |",
        "| large | full | rate 1 | 0.500 | 0.450 | 100 | 100 | 0.320 |",
    ]


def test_what_no_training_has_is_no_column() -> None:
    seeds = {seed: {name: facts[name] for name in ("held_out", "best_step")} for seed, facts in SEEDS.items()}
    assert loss_table({"small": {"paper": seeds}}).splitlines()[2:] == [
        "| small | paper | 0.300 0.500 | 0.200 0.450 | 50 100 | 100 100 |"
    ]

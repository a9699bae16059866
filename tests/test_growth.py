"""The benchmark of growth tells linear from quadratic time, whatever a command takes to start."""

import pytest
from growth import Commands, Taken, growth


class Fake(Commands):
    """Commands that take 5 s to start: all linear but remap, which is quadratic; evaluate has growing memory."""

    def world(self, times: int) -> Taken:
        return Taken(5 + 3 * times + (self.turn == 1), 100)

    def remap(self, times: int) -> Taken:
        return Taken(5 + 3 * times**2, 100)

    train = adapt = world

    def evaluate(self, times: int) -> Taken:
        return Taken(5 + 3 * times, 100 * times)


def test_the_ratio_of_increases_is_two_where_time_is_linear_and_four_where_it_is_quadratic(
    capsys: pytest.CaptureFixture[str],
) -> None:
    growth(Fake(frames=10, steps=20))
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()[1:]}
    assert [(name, row[1]) for name, row in rows.items()] == [
        ("world", "10"),
        ("remap", "10"),
        ("train", "20"),
        ("adapt", "20"),
        ("evaluate", "10"),
    ]
    assert {name: row[7] for name, row in rows.items()} == dict.fromkeys(rows, "2.00") | {"remap": "4.00"}
    assert {name: row[-1] for name, row in rows.items()} == dict.fromkeys(rows, "1.00") | {"evaluate": "4.00"}

"""What a record of a run says of where its files lay."""
from dataclasses import asdict

from common.reproduce.provenance import command_of
from conftest import load_script


def test_no_folder_of_this_machine_is_in_the_command_of_own_data():
    script = load_script("OwnData")
    flags = ["--answers", "/home/me/a.csv", "/home/me/b.csv", "--images", "/home/me/images", "--cache", "/home/me/cache",
             "--seed", "3"]
    config = {"flags": asdict(script.read_options(flags))}
    assert command_of([config, {"flags": config["flags"] | {"seed": 4, "answers": "/home/me/a.csv"}}], script) == (
        "python3 reproduce.py own --seeds 2 --answers a.csv b.csv --images images --cache cache")
